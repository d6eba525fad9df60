"""What several rounds of a workload say together."""

import statistics

COUNTS = ("messages", "lost", "doubled", "damaged", "not_accepted")  # these are added up
YARDSTICK = "HAProxy, TCP"  # what others' CPU is held against


def medians(runs):
    """Of one system's rounds: medians of figures, sums of counts; failed rounds are named."""
    good = [run for run in runs if "failed" not in run]
    if not good:
        return {"failed": runs[0]["failed"]}
    result = {}
    for name, value in good[0].items():
        values = [run[name] for run in good]
        if name in COUNTS:
            result[name] = sum(values)
        elif isinstance(value, (int, float)):
            result[name] = statistics.median(values)
        elif isinstance(value, dict):
            keys = {key for one in values for key in one}
            result[name] = {key: sum(one.get(key, 0) for one in values) for key in sorted(keys)}
        else:
            result[name] = value
    result["rounds"] = len(good)
    if len(good) < len(runs):
        result["failed_rounds"] = [run["failed"] for run in runs if "failed" in run]
    return result


def together(rounds):
    """Of each system's rounds (all systems' first, in turn, then all systems' second): their medians, and CPU a message as so
    many times the yardstick's, the median of that of each round: the machine was the same for both then."""
    result = {}
    for name, runs in rounds.items():
        result[name] = medians(runs)
        ratios = [run["cpu_us"] / beside["cpu_us"] for run, beside in zip(runs, rounds.get(YARDSTICK, ()))
                  if run.get("cpu_us") and beside.get("cpu_us")]
        if ratios:
            result[name]["cpu_ratio"] = statistics.median(ratios)
    return result
