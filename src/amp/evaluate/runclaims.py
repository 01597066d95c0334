"""The tables of a run report that claim something: of differences, the front, adaptivity."""

from __future__ import annotations

from amp.evaluate.runreport import RunReport
from amp.evaluate.tabular import Column, Table, correlation, figure, p_value, percent, points

_UNITS = {
    "tokens": "tokens",
    "completion_tokens": "written tokens",
    "flops": "FLOPs",
    "seconds": "seconds",
    "dollars": "dollars",
}


def unit(report: RunReport) -> str:
    """What the costs of a report are, in words."""
    return _UNITS[report.cost]


def success_table(report: RunReport) -> Table:
    return Table(
        "comparisons",
        f"Success, against {report.reference}",
        (
            Column("run"),
            Column("tasks"),
            Column("won"),
            Column("lost"),
            Column("points", points),
            Column("p", p_value),
            Column("p (Holm)", p_value),
            Column("detectable", points),
            Column("test"),
        ),
        tuple(
            (
                one.name, one.tasks, one.won, one.lost, one.difference, one.p_value, one.holm,
                one.detectable, one.test,
            )
            for one in report.comparisons
        ),
        "Won and lost: tasks, of each seed, that only this run or only the other solved. Points: "
        "difference of the success rates. "
        f"{_family(report)} - where no task told the runs apart, or no difference would be seen.",
    )  # fmt: skip


def savings_table(report: RunReport) -> Table:
    return Table(
        "savings",
        f"{unit(report)[0].upper() + unit(report)[1:]} saved, against {report.reference}",
        (
            Column("run"),
            Column("tasks"),
            Column("saved", percent),
            Column("95 %", percent),
            Column("p", p_value),
            Column("p (Holm)", p_value),
            Column("detectable", percent),
        ),
        tuple(
            (
                one.name, one.tasks, one.saving.share, one.saving.interval, one.saving.p_value,
                one.saving_holm, one.detectable_saving,
            )
            for one in report.comparisons
            if one.saving is not None
        ),
        f"Paired bootstrap over tasks; p by flipping signs over tasks. {_family(report)}",
    )  # fmt: skip


def _family(report: RunReport) -> str:
    return (
        f"Holm: adjusted for all {report.family} tests of this report, of success and of savings. "
        "Detectable: the smallest difference that would be seen with a probability of 80 % on so "
        "many tasks, at a level of 5 % before the adjustment."
    )


def gains_table(report: RunReport) -> Table:
    gains = () if report.curve is None else report.curve.gains
    return Table(
        "gains",
        "Against the fixed front at the same cost",
        (
            Column("run"),
            Column("front there", percent),
            Column("points gained", points),
            Column("95 %", points),
            Column("of the oracle's", percent),
            Column("of its saving", percent),
            Column("remark"),
        ),
        tuple(
            (
                one.name, one.front, one.gain, one.interval, one.share, one.saving_share, one.note,
            )
            for one in gains
        ),
        "The front is that of mixtures of the fixed runs: a coin for each task. Its best points "
        "are chosen on these very tasks, in its favour. Of the oracle's: the points gained by "
        "those that the oracle gains at its own cost. Of its saving: what is saved against the "
        "front at the run's own success, by what the oracle's cost would save there.",
    )  # fmt: skip


def areas_table(report: RunReport) -> Table:
    curve = report.curve
    return Table(
        "areas",
        "What can be had",
        (Column("of"), Column("AIQ", "{:.4f}".format), Column("hypervolume", "{:.4f}".format)),
        ()
        if curve is None
        else tuple((one.name, one.average_success, one.hypervolume) for one in curve.areas),
        ""
        if curve is None
        else f"Both from 0, where nothing is done, to {figure(curve.limit)} {unit(report)} a "
        "task, a tenth beyond the dearest run. AIQ is the mean height of the hull there, the "
        "hypervolume the share of that box (reference point: that cost, no success) which the "
        "runs dominate.",
    )


def thirds_table(report: RunReport) -> Table:
    return Table(
        "thirds",
        "By difficulty",
        (
            Column("run"),
            Column("third"),
            Column("tasks"),
            Column("success", percent),
            Column("95 %", percent),
            Column(f"{unit(report)} a task", figure),
            Column("95 % of it", figure),
        ),
        tuple(
            (
                one.run, one.third, one.tasks, one.success_rate, one.success_interval, one.cost,
                one.cost_interval,
            )
            for one in report.thirds
        ),
        "Thirds by the benchmark's own count, with boundaries from training tasks.",
    )  # fmt: skip


def adapted_table(report: RunReport) -> Table:
    return Table(
        "adaptivity",
        "Was more allocated where it is harder?",
        (
            Column("run"),
            Column("allocated"),
            Column("against"),
            Column("Spearman", correlation),
            Column("95 %", correlation),
            Column("Kendall", correlation),
            Column("95 % of it", correlation),
            Column("remark"),
        ),
        tuple(
            (
                one.run, one.amount, one.against, one.spearman.value, one.spearman.interval,
                one.kendall.value, one.kendall.interval, one.spearman.note,
            )
            for one in report.adapted
        ),
        "Rank correlations over tasks, with bootstrap intervals. A failure rate of few samples is "
        "noisy, which draws them towards 0; samples that the run itself used push them up.",
    )  # fmt: skip


def calibration_table(report: RunReport) -> Table:
    return Table(
        "calibration",
        "Is complexity a probability of failure?",
        (
            Column("run"),
            Column("episodes"),
            Column("complexity", "{:.3f}".format),
            Column("failures", percent),
            Column("calibration error", "{:.3f}".format),
            Column("Brier", "{:.3f}".format),
            Column("Brier of a constant", "{:.3f}".format),
            Column("AUROC", "{:.2f}".format),
            Column("95 %", "{:.2f}".format),
            Column("remark"),
        ),
        tuple(
            (
                one.run, one.episodes, one.score, one.failure_rate,
                one.reliability.calibration_error, one.reliability.brier,
                one.reliability.constant_brier, one.auroc.value, one.auroc.interval,
                one.reliability.note or one.auroc.note,
            )
            for one in report.calibrations
        ),
        "Complexity: mean over the steps of an episode, each before its first round. Calibration "
        "error: mean distance to the failure rate in 10 bins of equal counts. The constant is the "
        "run's own failure rate. AUROC: 0.5 tells failures from successes no better than chance.",
    )  # fmt: skip
