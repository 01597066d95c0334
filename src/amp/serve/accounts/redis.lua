-- Keys and budgets in Redis (amp.serve.accounts.redis): each operation is one script, so no two calls
-- take the same money. Amounts are whole nano-dollars below 2^53, which Lua's numbers hold exactly.
--
--   BASE:key:ID         a key: name, prefix, salt, hash, created, revoked, its limits
--   BASE:names          ID by name;  BASE:prefixes: ID by prefix
--   BASE:call:N         a call: key, begun, episode, held_dollars, held_tokens, ending
--   BASE:open:ID        open calls of a key, by the second at which their lease ends
--   BASE:sum:ID:PERIOD  sums of a day, a month or an episode, with what open calls hold
--
-- Budgets that several agents draw from (amp.serve.accounts.redis_budget), in whole units of any kind:
--
--   BASE:budget:NAME    a budget: unit, total, at_once
--   BASE:floor:NAME, BASE:spent:NAME, BASE:held:NAME  amounts by agent
--   BASE:budget_of      NAME by key;  BASE:budgets: all names
--   BASE:ticket:T       an agent that waits or has its turn: budget, agent, bid, order, most, ending
--   BASE:waiting:NAME, BASE:running:NAME  tickets, by the second at which their lease ends

local BASE, operation, moment = KEYS[1], ARGV[1], tonumber(ARGV[2])
if not moment then
  local time = redis.call('TIME')
  moment = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local now = math.floor(moment)

local DAY = 86400
local ENDED, UNENDED = 2 * DAY, 40 * DAY
local SUMS = {'dollars', 'tokens', 'requests', 'over_dollars', 'over_tokens', 'lost_dollars'}

local function at(...)
  return BASE .. ':' .. table.concat({...}, ':')
end

local function text(number)
  return string.format('%.0f', number)
end

local function lease_end(lease)
  return string.format('%.3f', moment + lease)
end

local function row(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- The civil calendar, from days since 1970 (Howard Hinnant's algorithm).
local function day_of(moment)
  local days = math.floor(moment / DAY) + 719468
  local era = math.floor(days / 146097)
  local in_era = days - era * 146097
  local year = math.floor((in_era - math.floor(in_era / 1460) + math.floor(in_era / 36524)
    - math.floor(in_era / 146096)) / 365)
  local in_year = in_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local shifted = math.floor((5 * in_year + 2) / 153)
  local day = in_year - math.floor((153 * shifted + 2) / 5) + 1
  local month = shifted < 10 and shifted + 3 or shifted - 9
  if month <= 2 then year = year + 1 end
  return string.format('%04d-%02d-%02d', year + era * 400, month, day)
end

local function periods(call)
  local day = day_of(tonumber(call.begun))
  local found = {{day, 40 * DAY}, {string.sub(day, 1, 7), 400 * DAY}}
  if call.episode ~= '' then found[3] = {'episode ' .. call.episode, 30 * DAY} end
  return found
end

local function add(call, amounts)
  for _, period in ipairs(periods(call)) do
    local key = at('sum', call.key, period[1])
    for i, name in ipairs(SUMS) do
      if amounts[i] ~= 0 then redis.call('HINCRBY', key, name, text(amounts[i])) end
    end
    redis.call('EXPIRE', key, period[2])
  end
end

local function sums(id, period)
  local found = redis.call('HMGET', at('sum', id, period), unpack(SUMS))
  for i = 1, #SUMS do found[i] = tonumber(found[i] or 0) end
  return found
end

local function finish(number, call, ending)
  redis.call('HSET', at('call', number), 'ending', ending)
  redis.call('EXPIRE', at('call', number), ENDED)
  redis.call('ZREM', at('open', call.key), number)
end

local function expire(id)
  for _, number in ipairs(redis.call('ZRANGEBYSCORE', at('open', id), '-inf', string.format('%.3f', moment))) do
    local call = row(at('call', number))
    local held, held_tokens = tonumber(call.held_dollars), tonumber(call.held_tokens)
    finish(number, call, 'expired')
    add(call, {-held, -held_tokens, -1, 0, 0, held})
  end
end

local operations = {}

function operations.find(prefix)
  local id = redis.call('HGET', at('prefixes'), prefix)
  if not id then return {} end
  return {id, redis.call('HGETALL', at('key', id))}
end

function operations.add(name, prefix, salt, hash, ...)
  if redis.call('HEXISTS', at('names'), name) == 1 then return {'taken'} end
  local id = redis.call('INCR', at('last_key'))
  redis.call('HSET', at('names'), name, id)
  redis.call('HSET', at('prefixes'), prefix, id)
  redis.call('HSET', at('key', id), 'name', name, 'prefix', prefix, 'salt', salt, 'hash', hash,
    'created', text(now), ...)
  return {'ok'}
end

function operations.keys()
  local found = {}
  for _, id in ipairs(redis.call('HVALS', at('names'))) do
    table.insert(found, {id, redis.call('HGETALL', at('key', id))})
  end
  return found
end

function operations.revoke(id)
  redis.call('HSETNX', at('key', id), 'revoked', text(now))
  local name = redis.call('HGET', at('key', id), 'name')
  local budget = redis.call('HGET', at('budget_of'), name)
  if budget then redis.call('HSET', at('floor', budget), name, 0) end -- it needs no more of it
  return {'ok'}
end

function operations.reserve(id, dollars, tokens, episode, lease)
  local key = row(at('key', id))
  if not key.name then return {'unknown'} end
  if key.revoked then return {'revoked', key.revoked} end
  expire(id)
  local want, want_tokens = tonumber(dollars), tonumber(tokens)
  local day = sums(id, day_of(now))
  local month = sums(id, string.sub(day_of(now), 1, 7))
  local in_episode = episode ~= '' and sums(id, 'episode ' .. episode)[1] or 0
  local looks = {
    {'dollars_per_day', day[1], want},
    {'dollars_per_month', month[1], want},
    {'tokens_per_day', day[2], want_tokens},
    {'requests_per_day', day[3], 1},
    {'max_concurrent', redis.call('ZCARD', at('open', id)), 1},
    {'episode_dollars', in_episode, want},
  }
  for _, look in ipairs(looks) do
    local most = tonumber(key[look[1]])
    if most and look[2] + look[3] > most then
      return {'refused', look[1], text(look[2]), text(look[3]), text(most), text(now)}
    end
  end
  local number = redis.call('INCR', at('last_call'))
  redis.call('HSET', at('call', number), 'key', id, 'begun', text(now), 'episode', episode,
    'held_dollars', dollars, 'held_tokens', tokens)
  redis.call('EXPIRE', at('call', number), UNENDED)
  redis.call('ZADD', at('open', id), lease_end(lease), number)
  add({key = id, begun = now, episode = episode}, {want, want_tokens, 1, 0, 0, 0})
  return {'ok', text(number)}
end

function operations.settle(number, dollars, tokens)
  local call = row(at('call', number))
  if not call.key then return {'unknown'} end
  if call.ending == 'settled' then return {'settled'} end
  local held, held_tokens = tonumber(call.held_dollars), tonumber(call.held_tokens)
  local requests, lost = 0, 0
  if call.ending then -- what was held had been given back
    if call.ending == 'expired' then lost = -held end
    held, held_tokens, requests = 0, 0, 1
  end
  local spent, spent_tokens = tonumber(dollars), tonumber(tokens)
  local over, over_tokens = math.max(0, spent - held), math.max(0, spent_tokens - held_tokens)
  finish(number, call, 'settled')
  add(call, {spent - held, spent_tokens - held_tokens, requests, over, over_tokens, lost})
  return {'ok', text(over), text(over_tokens)}
end

function operations.release(number)
  local call = row(at('call', number))
  if not call.key then return {'unknown'} end
  if not call.ending then
    finish(number, call, 'released')
    add(call, {-tonumber(call.held_dollars), -tonumber(call.held_tokens), -1, 0, 0, 0})
  end
  return {'ok'}
end

-- Only a lease that is still there goes on: what had expired was given to others.
function operations.renew(lease, ...)
  local calls = {...}
  for i = 1, #calls, 2 do
    expire(calls[i])
    redis.call('ZADD', at('open', calls[i]), 'XX', lease_end(lease), calls[i + 1])
  end
  return {'ok'}
end

function operations.spend(id)
  expire(id)
  local open = redis.call('ZRANGE', at('open', id), 0, -1)
  local today = day_of(now)
  local found = {tostring(#open)}
  for _, period in ipairs({today, string.sub(today, 1, 7)}) do
    local held, held_tokens = 0, 0
    for _, number in ipairs(open) do
      local call = row(at('call', number))
      if string.sub(day_of(tonumber(call.begun)), 1, #period) == period then
        held = held + tonumber(call.held_dollars)
        held_tokens = held_tokens + tonumber(call.held_tokens)
      end
    end
    table.insert(found, period)
    for _, amount in ipairs(sums(id, period)) do table.insert(found, text(amount)) end
    table.insert(found, text(held))
    table.insert(found, text(held_tokens))
  end
  return found
end

-- ------------------------------------------------------------------ budgets of several agents

local function amounts(what, name)
  local found = row(at(what, name))
  for agent, amount in pairs(found) do found[agent] = tonumber(amount) end
  return found
end

local function shares(name)
  return {floor = amounts('floor', name), spent = amounts('spent', name), held = amounts('held', name)}
end

-- What an agent may take now, and what it could if nothing was set aside.
local function left(name, agent, of)
  local now = tonumber(redis.call('HGET', at('budget', name), 'total'))
  local ever = now
  for other, floor in pairs(of.floor) do
    local spent, held = of.spent[other], of.held[other]
    now, ever = now - spent - held, ever - spent
    if other ~= agent then
      now = now - math.max(0, floor - spent - held)
      ever = ever - math.max(0, floor - spent)
    end
  end
  return math.max(0, now), math.max(0, ever)
end

local function close(id, ticket, ending, cost)
  local name = ticket.budget
  if ticket.most then
    redis.call('HINCRBY', at('held', name), ticket.agent, text(0 - tonumber(ticket.most)))
    redis.call('HINCRBY', at('spent', name), ticket.agent, text(cost))
  end
  redis.call('ZREM', at('waiting', name), id)
  redis.call('ZREM', at('running', name), id)
  redis.call('HSET', at('ticket', id), 'ending', ending)
  redis.call('EXPIRE', at('ticket', id), ENDED)
end

-- Ends the turns of agents that are lost. What those spent nobody has told, so it counts as all of it.
local function sweep(name)
  local past = string.format('%.3f', moment)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', at('running', name), '-inf', past)) do
    local ticket = row(at('ticket', id))
    close(id, ticket, 'lost', tonumber(ticket.most))
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', at('waiting', name), '-inf', past)) do
    close(id, row(at('ticket', id)), 'lost', 0)
  end
end

local function goes_before(one, other, spent)
  local bid, other_bid = tonumber(one.bid), tonumber(other.bid)
  if bid ~= other_bid then return bid > other_bid end
  if spent[one.agent] ~= spent[other.agent] then return spent[one.agent] < spent[other.agent] end
  return tonumber(one.order) < tonumber(other.order)
end

function operations.make(name, unit, total, at_once, whose, ...)
  local pairs_of, known = {...}, redis.call('HKEYS', at('names'))
  if redis.call('EXISTS', at('budget', name)) == 1 then return {'taken'} end
  for i = 1, #pairs_of, 2 do
    local other = redis.call('HGET', at('budget_of'), pairs_of[i])
    if whose == 'keys' and redis.call('HEXISTS', at('names'), pairs_of[i]) == 0 then
      return {'no key', pairs_of[i], unpack(known)}
    elseif whose == 'keys' and other then
      return {'other', pairs_of[i], other}
    end
  end
  for i = 1, #pairs_of, 2 do
    if whose == 'keys' then redis.call('HSET', at('budget_of'), pairs_of[i], name) end
    redis.call('HSET', at('floor', name), pairs_of[i], pairs_of[i + 1])
    redis.call('HSET', at('spent', name), pairs_of[i], 0)
    redis.call('HSET', at('held', name), pairs_of[i], 0)
  end
  redis.call('HSET', at('budget', name), 'unit', unit, 'total', total, 'at_once', at_once)
  redis.call('SADD', at('budgets'), name)
  return {'ok'}
end

function operations.budgets()
  return redis.call('SMEMBERS', at('budgets'))
end

function operations.budget_of(key)
  local name = redis.call('HGET', at('budget_of'), key)
  return name and {name, redis.call('HGET', at('budget', name), 'unit')} or {}
end

function operations.tell(name)
  local budget = row(at('budget', name))
  if not budget.total then return {} end
  sweep(name)
  local of = shares(name)
  local found = {budget.unit, budget.total, budget.at_once,
    tostring(redis.call('ZCARD', at('running', name))), tostring(redis.call('ZCARD', at('waiting', name)))}
  local agents = redis.call('HKEYS', at('floor', name))
  table.sort(agents)
  for _, agent in ipairs(agents) do
    local free = left(name, agent, of)
    for _, part in ipairs({agent, text(of.floor[agent]), text(of.spent[agent]), text(of.held[agent]), text(free)}) do
      table.insert(found, part)
    end
  end
  return found
end

function operations.waive(name, agent)
  redis.call('HSET', at('floor', name), agent, 0)
  return {'ok'}
end

-- The place in the queue is kept for `place` seconds, a turn for `lease`.
function operations.ask(name, id, agent, bid, want, lease, place)
  local budget = row(at('budget', name))
  if not budget.total then return {'there is no such budget'} end
  if redis.call('HEXISTS', at('floor', name), agent) == 0 then
    return {'no agent', unpack(redis.call('HKEYS', at('floor', name)))}
  end
  sweep(name)
  local ticket = row(at('ticket', id))
  if ticket.most then return {ticket.ending or 'turn', ticket.most} end -- this was told, and lost on its way
  redis.call('HDEL', at('ticket', id), 'ending')
  redis.call('HSET', at('ticket', id), 'budget', name, 'agent', agent, 'bid', bid, 'want', want)
  if not ticket.order then redis.call('HSET', at('ticket', id), 'order', redis.call('INCR', at('last_ticket'))) end
  redis.call('ZADD', at('waiting', name), lease_end(place), id)
  local room = tonumber(budget.at_once) - redis.call('ZCARD', at('running', name))
  if room < 1 then return {'wait', text(redis.call('ZCARD', at('waiting', name)))} end
  local of, mine = shares(name), row(at('ticket', id))
  local ahead, theirs = 0, 0 -- who goes before, and what they want
  for _, other in ipairs(redis.call('ZRANGE', at('waiting', name), 0, -1)) do
    local one = other ~= id and row(at('ticket', other))
    if one and goes_before(one, mine, of.spent) then
      ahead = ahead + 1
      theirs = theirs + (tonumber(one.want) or 2^53)
    end
  end
  local free, ever = left(name, agent, of)
  local most = tonumber(want) or math.floor(free / room)
  if most > ever then
    close(id, mine, 'refused', 0)
    return {'refused', text(ever)}
  end
  -- What is set aside for others may come back; and who goes before need not have come to ask.
  if ahead >= room or most + theirs > free then return {'wait', text(ahead)} end
  redis.call('HSET', at('ticket', id), 'most', text(most))
  redis.call('ZREM', at('waiting', name), id)
  redis.call('ZADD', at('running', name), lease_end(lease), id)
  redis.call('HINCRBY', at('held', name), agent, text(most))
  return {'turn', text(most)}
end

-- What counts as spent already, since its agent was lost, stays so.
function operations.done(id, cost)
  local ticket = row(at('ticket', id))
  if not ticket.budget then return {} end
  if not ticket.ending then close(id, ticket, 'done', tonumber(cost)) end
  local of, found = shares(ticket.budget), {}
  for agent in pairs(of.floor) do
    local free = left(ticket.budget, agent, of)
    table.insert(found, agent)
    table.insert(found, text(free))
  end
  return found
end

function operations.renew_turns(lease, ...)
  for _, id in ipairs({...}) do
    local ticket = row(at('ticket', id))
    if ticket.budget then
      sweep(ticket.budget)
      redis.call('ZADD', at('running', ticket.budget), 'XX', lease_end(lease), id)
    end
  end
  return {'ok'}
end

return operations[operation](unpack(ARGV, 3))
