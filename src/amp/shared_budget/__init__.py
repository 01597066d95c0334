"""One budget for several agents: who may spend what, and whose turn it is.

`base` has the protocol, `agents` the planners that draw from a budget. A budget is kept in this
process (`in_process`), in an actor of a Ray cluster (`on_ray`), or in Redis
(`amp.serve.accounts.redis_budget`); `distant` is what the last two have in common.
"""

from amp.shared_budget.agents import join
from amp.shared_budget.base import Budget, Turn, Unit
from amp.shared_budget.in_process import SharedBudget

__all__ = ["Budget", "SharedBudget", "Turn", "Unit", "join"]
