"""Tables, CSV and a picture of what bench/scaling/run measured."""

import csv
import html
import json
import statistics
import sys

KEY = ("ranks", "group", "case", "schedule", "chunks", "zero", "overlap", "micro_batches", "data", "pipeline")
MEDIANS = ("tokens_per_second", "speedup", "step_seconds", "blocked_seconds", "bubble", "bubble_formula", "data_sent",
           "data_formula", "messages_sent", "messages_formula")
TOLERANCE = 0.005  # of bytes: a bucket is padded to a multiple of the ranks


def read(path):
    """Lines of cases, each with its ratio to the last run of one rank alone; and those of matrix products."""
    cases, products, alone = [], [], None
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if line["case"] == "products":
            products.append(line)
            alone = None
            continue
        if line["group"] == "alone":
            alone = line["tokens_per_second"]
        if alone is None:
            sys.exit(f"{path}: a round lacks its run of one rank alone")
        line["speedup"] = line["tokens_per_second"] / alone
        cases.append(line)
    return cases, products


def medians(cases):
    rows = {}
    for line in cases:
        rows.setdefault(tuple(line[name] for name in KEY), []).append(line)
    return [dict(zip(KEY, key), rounds=len(lines),
                 **{name: statistics.median(line[name] for line in lines) for name in MEDIANS},
                 least=min(line["speedup"] for line in lines), most=max(line["speedup"] for line in lines))
            for key, lines in rows.items()]


def product_ratios(products):
    ratios = {}
    for line in products:
        ratios.setdefault(line["ranks"], []).append(line["gflops"] / line["gflops_alone"])
    return {ranks: statistics.median(values) for ranks, values in ratios.items()}


def differing_bytes(rows):
    """What the ledgers counted beside the formulas of docs/parallel.md."""
    wrong = []
    for row in rows:
        for what, tolerance in (("data", TOLERANCE), ("messages", 0)):
            sent, formula = row[what + "_sent"], row[what + "_formula"]
            if abs(sent - formula) > tolerance * formula:
                wrong.append(f"{row['ranks']} ranks, {row['group']}, {row['case']}: {sent:.0f} bytes of {what} a step, "
                             f"the formula says {formula:.0f}")
    return wrong


def table(rows, ratios):
    print(f"{'ranks':>5} {'group':8} {'case':30} {'m':>4} {'overlap':>7} {'tokens/s':>9} {'speed-up':>9} {'(least-most)':>13} "
          f"{'efficiency':>10} {'blocked':>8} {'bubble':>7} {'formula':>7} {'MB sent':>8} {'formula':>8}")
    for row in sorted(rows, key=lambda row: row["ranks"]):
        pipeline = row["pipeline"] > 1
        sent, formula = (row["data_sent"] + row["messages_sent"], row["data_formula"] + row["messages_formula"])
        compared = row["group"] in ("alone", "strong", "weak")
        print(f"{row['ranks']:5} {row['group']:8} {row['case']:30} {row['micro_batches']:4} "
              f"{'on' if row['overlap'] else 'off':>7} {row['tokens_per_second']:9.0f} "
              + (f"{row['speedup']:9.2f} {row['least']:6.2f}-{row['most']:.2f}   {100 * row['speedup'] / (row['data'] * row['pipeline']):8.0f} % "
                 if compared else " " * 37)
              + f"{100 * row['blocked_seconds'] / row['step_seconds']:6.2f} % "
              + (f"{100 * row['bubble']:5.1f} % {100 * row['bubble_formula']:5.1f} % " if pipeline else " " * 16)
              + f"{sent / 1e6:8.2f} {formula / 1e6:8.2f}")
    for ranks, ratio in ratios.items():
        print(f"{ranks} independent matrix products reach {ratio:.2f} times one")


def find(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def targets(rows, ratios):
    """(what, reached, aim, met) of the two-rank figures that the project aims at."""
    goals = []

    def least(what, values, aim):
        if values:
            goals.append((what, f"{max(values):.2f}", f">= {aim}", max(values) >= aim))

    note = f" (matrix products: {ratios[2]:.2f})" if 2 in ratios else ""
    two = find(rows, ranks=2)
    data = find(two, group="strong", data=2, zero=1)
    pipelines = [row for row in find(two, group="strong", pipeline=2) if row["schedule"] in ("1f1b", "interleaved")]
    least("data-parallel, 2 ranks, ZeRO 1 (the default)" + note, [row["speedup"] for row in data], 1.7)
    least("pipeline, 2 ranks, the best of 1F1B and interleaved" + note, [row["speedup"] for row in pipelines], 1.65)
    for on in find(two, group="overlap", overlap=True, pipeline=1):
        off = find(two, group="overlap", overlap=False, case=on["case"])
        if off:
            share = on["blocked_seconds"] / max(off[0]["blocked_seconds"], 1e-9)
            goals.append((f"blocked, {on['case']}, with overlap over without", f"{share:.2f}", "<= 0.5", share <= 0.5))
    for row in find(two, group="strong", pipeline=2, schedule="1f1b"):
        points = 100 * abs(row["bubble"] - row["bubble_formula"])
        goals.append(("bubble of 1F1B beside its formula, points", f"{points:.1f}", "<= 3", points <= 3))
    vision = {row["case"]: row["tokens_per_second"] for row in find(two, group="vision")}
    base = vision.get("decoder cut in equal parts")
    for better in ("the same, interleaved", "cut by costs", "cut by costs, interleaved"):
        if base and better in vision:
            gain = vision[better] / base
            goals.append((f"behind a ViT: {better}, over the decoder cut in equal parts", f"{gain:.2f}", "> 1", gain > 1))
    return goals


def write_csv(path, rows, ratios):
    names = [*KEY, "rounds", *MEDIANS, "least", "most", "efficiency", "products_ratio"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            efficiency = row["speedup"] / (row["data"] * row["pipeline"])
            writer.writerow(row | {"efficiency": efficiency, "products_ratio": ratios.get(row["ranks"], "")})


def panel(title, rows, ratios, left):
    """Speed-up over ranks: a line a case, one rank to all; dashed what is ideal, dotted what matrix products reach."""
    width, height, top = 300, 240, 40
    most = max([row["data"] * row["pipeline"] for row in rows] + [2])
    x = lambda ranks: left + width * (ranks - 1) / (most - 1)
    y = lambda speedup: top + height * (1 - speedup / most)
    curves = {}
    for row in rows:
        kind = ("data parallel" if row["pipeline"] == 1 else row["schedule"] if row["data"] == 1 else "data x pipeline")
        curves.setdefault(f"{kind}, ZeRO {row['zero']}" if row["data"] > 1 else kind, {1: 1})[
            row["data"] * row["pipeline"]] = row["speedup"]
    line = lambda points, style: (f'<polyline fill="none" {style} points="'
                                  + " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in sorted(points.items())) + '"/>')
    text = lambda a, b, what, more="": f'<text x="{a:.1f}" y="{b:.1f}" {more}>{html.escape(what)}</text>'
    parts = [text(left, top - 16, title, 'font-weight="bold"'),
             line({1: 1, most: most}, 'stroke="#999" stroke-dasharray="5 4"'),
             line({1: 1, **ratios}, 'stroke="#999" stroke-dasharray="1 3"')]
    for ranks in sorted({1, *(row["data"] * row["pipeline"] for row in rows)}):
        parts.append(text(x(ranks), top + height + 18, str(ranks), 'text-anchor="middle"'))
        parts.append(text(left - 8, y(ranks) + 4, str(ranks), 'text-anchor="end"'))
    parts.append(text(left + width, top + height + 34, "ranks", 'text-anchor="end"'))
    for i, (name, points) in enumerate(curves.items()):
        colour = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b")[i % 7]
        parts.append(line(points, f'stroke="{colour}" stroke-width="2"'))
        end = points[max(points)]
        parts.append(text(left, top + height + 56 + 16 * i, f"{name}: {end:.2f} on {max(points)} ranks", f'fill="{colour}"'))
    return "\n".join(parts), 16 * len(curves)


def write_svg(path, rows, ratios):
    panels = [panel(title, of, ratios, left)
              for title, of, left in (("Strong scaling: speed-up", find(rows, group="strong"), 50),
                                      ("Weak scaling: speed-up", find(rows, group="weak"), 430)) if of]
    if not panels:
        return
    height = 350 + max(legend for _, legend in panels)
    body = "\n".join(drawn for drawn, _ in panels)
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {height}" font-family="sans-serif" '
                    f'font-size="12"><rect width="780" height="{height}" fill="#fff"/>\n{body}\n</svg>\n', encoding="utf-8")


def write(folder):
    """The exit code of bench/scaling/run."""
    cases, products = read(folder / "lines.jsonl")
    rows, ratios = medians(cases), product_ratios(products)
    table(rows, ratios)
    write_csv(folder / "scaling.csv", rows, ratios)
    write_svg(folder / "scaling.svg", rows, ratios)
    goals = targets(rows, ratios)
    if goals:
        print("\naimed at, medians over rounds:")
    for what, reached, aim, met in goals:
        print(f"  {'met   ' if met else 'MISSED'}  {what}: {reached} ({aim})")
    print(f"\n{folder}/scaling.csv, {folder}/scaling.svg")
    wrong = differing_bytes(rows)
    for line in wrong:
        print(f"ERROR: {line}", file=sys.stderr)
    return 3 if wrong else 0 if all(met for *_, met in goals) else 1
