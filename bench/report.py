"""From samples to medians, tables and comparisons. No measuring here: values in, text out."""
import statistics

THRESHOLD = 0.10
# Times of whole processes on a shared machine rarely have a narrower spread, even where few samples happen to agree.
LEAST_NOISE = 0.03


def summarize(samples):
    """samples[row][tool] = [(milliseconds, CPU milliseconds, peak KiB)]; rows and tools without any are left out."""
    result = {}
    for row, tools in samples.items():
        cells = {}
        for tool, values in tools.items():
            if not values:
                continue
            walls = [value[0] for value in values]
            cells[tool] = {"median": round(statistics.median(walls), 3), "min": round(min(walls), 3), "spread": round(spread(walls), 4),
                           "cpu_ms": round(statistics.median(value[1] for value in values), 2),
                           "peak_kib": max(value[2] for value in values), "runs": len(values),
                           "samples": [round(wall, 3) for wall in walls]}
        if cells:
            result[row] = cells
    return result


def spread(values):
    """The median distance from the median, as a share of it: a few outliers do not move it."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values) / middle if middle else 0.0


def goal_text(row):
    if row.factor is not None:
        return f"{row.factor:g} x {row.against}"
    return "" if row.goal is None else f"{row.goal:,.0f}"


def ratio(cells, tool, other):
    if tool not in cells or other not in cells or not cells[other]["median"]:
        return None
    return cells[tool]["median"] / cells[other]["median"]


def is_met(row, cells):
    """None where there is nothing to say."""
    if "img" not in cells:
        return None
    if row.factor is not None:
        reached = ratio(cells, "img", row.against)
        return None if reached is None else reached <= row.factor
    return None if row.goal is None else cells["img"]["median"] <= row.goal


def best_rival(cells, partial):
    """(name, median) of the fastest that does the whole work."""
    rivals = [(values["median"], name) for name, values in cells.items()
              if not name.startswith(("limit", "img")) and name not in partial]
    return (min(rivals)[1], min(rivals)[0]) if rivals else None


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}"


def table(result, rows, names, partial=()):
    """One line per row. A tool that does only part of the work has its figure in brackets and is nobody's best rival."""
    names = [name for name in names if any(name in cells for cells in result.values())]
    head = ["median of whole commands, ms", "goal", *names, "img / limit", "img / limit files", "best rival / img", "met"]
    lines = ["| " + " | ".join(head) + " |", "|---|---:|" + "---:|" * (len(names) + 4)]
    for key, cells in result.items():
        row = rows[key]
        values = []
        for name in names:
            text = number(cells[name]["median"]) if name in cells else ""
            values.append(f"({text})" if text and name in partial else text)
        for limit in ("limit", "limit files"):
            found = ratio(cells, "img", limit)
            values.append("" if found is None else f"{found:.2f}")
        best = best_rival(cells, partial)
        values.append(f"{best[1] / cells['img']['median']:.1f} ({best[0]})" if best and "img" in cells else "")
        values.append({None: "", True: "yes", False: "no"}[is_met(row, cells)])
        lines.append(f"| {row.title} | {goal_text(row)} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def growth(result, rows, tolerance=1.15):
    """For each family with two sizes: time and memory per unit of the larger against the smaller. 1 is linear."""
    families = {}
    for key, cells in result.items():
        if rows[key].family and "img" in cells:
            families.setdefault(rows[key].family, []).append((rows[key].size, key, cells["img"], cells.get("limit")))
    lines = ["| growth of img | from | to | ms | peak MiB | time per unit | of the limit | memory per unit | no worse than linear |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---|"]
    for family, sizes in families.items():
        if len(sizes) < 2:
            continue
        (small, _, before, floor), (large, key, after, floor_after) = sorted(sizes, key=lambda entry: entry[0])[::len(sizes) - 1]
        times = after["median"] / before["median"] * small / large
        memory = after["peak_kib"] / before["peak_kib"] * small / large if before["peak_kib"] else 0
        of_limit = f"{floor_after['median'] / floor['median'] * small / large:.2f}" if floor and floor_after else ""
        verdict = "yes" if max(times, memory) <= tolerance else "no"
        lines.append(f"| {rows[key].title} | {small:,} | {large:,} | {number(before['median'])} to {number(after['median'])} | "
                     f"{before['peak_kib'] / 1024:.1f} to {after['peak_kib'] / 1024:.1f} | {times:.2f} | {of_limit} | {memory:.2f} | {verdict} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def memory(result, rows, names=("img",)):
    """Peak of the largest process, per row."""
    lines = ["| peak memory of the largest process, MiB | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for key, cells in result.items():
        values = [f"{cells[name]['peak_kib'] / 1024:.1f}" if cells.get(name, {}).get("peak_kib") else "" for name in names]
        if any(values):
            lines.append(f"| {rows[key].title} | " + " | ".join(values) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def machine_factor(new, old):
    """How much slower the machine is now: the median over all limits that both runs have. Rows without a limit of their
    own are compared after division by it."""
    factors = [new[row][tool]["median"] / old[row][tool]["median"] for row in new for tool in new[row]
               if tool.startswith("limit") and old.get(row, {}).get(tool, {}).get("median")]
    return statistics.median(factors) if factors else 1.0


def compare(new, old, rows, threshold=THRESHOLD):
    """[(word, key, text)], the slower rows first. The score of a row is img / limit, or img alone over the machine's factor;
    it counts as changed when it moved by more than the threshold and by more than three times the spread of all samples in it."""
    factor = machine_factor(new, old)
    found = []
    for key in dict.fromkeys([*new, *old]):
        now, before = new.get(key, {}), old.get(key, {})
        title = rows[key].title if key in rows else key
        if "img" not in now or "img" not in before:
            if "img" in now or "img" in before:
                found.append(("new" if "img" in now else "gone", key, title))
            continue
        against = rows[key].against if key in rows else "limit"
        by_limit = ratio(now, "img", against), ratio(before, "img", against)
        tools = ["img"]
        if None not in by_limit:
            after, earlier = by_limit
            tools.append(against)
        else:
            after, earlier = now["img"]["median"] / factor, before["img"]["median"]
        noise = max(LEAST_NOISE, 3 * max(cells[tool].get("spread", 0) for cells in (now, before) for tool in tools))
        change = after / earlier - 1
        word = "same" if abs(change) <= max(threshold, noise) else "slower" if change > 0 else "faster"
        unit = f"x {against}" if len(tools) > 1 else "ms, machine levelled"
        found.append((word, key, f"{title}: {earlier:.2f} -> {after:.2f} {unit} ({change:+.0%}, noise {noise:.0%})"))
    order = ("slower", "faster", "new", "gone", "same")
    return sorted(found, key=lambda entry: order.index(entry[0]))


def compared(found, factor):
    counts = {word: sum(1 for entry in found if entry[0] == word) for word in ("slower", "faster", "same")}
    head = f"{counts['slower']} slower, {counts['faster']} faster, {counts['same']} the same; the limits take {factor:.2f} x the time they took"
    return "\n".join([head, *(f"{word:7} {text}" for word, _, text in found)])
