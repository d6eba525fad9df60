"""CPU a message by workload and system as a bar chart in SVG, by hand: a logarithmic axis, for the systems are decades apart."""

import math
from xml.sax.saxutils import escape

from rounds import YARDSTICK

WIDTH, LABELS, RIGHT = 940, 260, 110  # of the picture; left of the bars; right of them
ROW, BAR, GAP, TOP, BOTTOM = 19, 13, 34, 92, 40
KINDS = (  # what a system does with a message, and its colour
    ("Postern", "#1b6e8c"),
    ("passes bytes, understands nothing", "#9aa4ab"),
    ("passes the smart host's answer", "#79b0c4"),
    ("answers from a queue on disk", "#d09a4a"),
)


def kind(name, promises):
    if name.startswith("Postern"):
        return 0
    if promises["reads"] == "nothing":
        return 1
    return 3 if promises["stores"] else 2


def shown(microseconds):
    return f"{microseconds / 1000:,.3g} ms" if microseconds >= 1000 else f"{microseconds:,.3g} us"


def text(x, y, what, anchor="start", size=12, weight="normal", fill="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{fill}">'
            f"{escape(what)}</text>\n")


def said_of(figures):
    """The figure, and as many times the yardstick's."""
    return shown(figures["cpu_us"]) + (f" ({figures['cpu_ratio']:,.2f})" if "cpu_ratio" in figures else "")


def draw(result):
    groups = []  # (title, [(system, figures)]), what is no system left out
    for name, workload in result["workloads"].items():
        systems = [(system, figures) for system, figures in workload["systems"].items() if system != "no gateway"]
        groups.append((f"{name}: {workload['title']}", systems))
    values = [figures["cpu_us"] for _, systems in groups for _, figures in systems if figures.get("cpu_us", 0) > 0]
    low = math.floor(math.log10(min(values, default=10)))
    high = max(math.ceil(math.log10(max(values, default=1000))), low + 1)
    height = TOP + sum(GAP + ROW * len(systems) for _, systems in groups) + BOTTOM
    plot = WIDTH - LABELS - RIGHT

    def x(microseconds):
        return LABELS + plot * (math.log10(microseconds) - low) / (high - low)

    out = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           'font-family="sans-serif" role="img" aria-label="CPU a message by workload and system">\n'
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n')
    out += text(12, 24, "CPU a message, all processes of a system (logarithmic; shorter is better)", size=15, weight="bold")
    length = "a quick look, no figures to quote" if result["quick"] else f"medians of {result['rounds']} rounds for W1 to W3"
    out += text(12, 43, f"In brackets: as many times that of {YARDSTICK}, in the same run. {result['date']}, "
                f"{result['machine']['cores']} cores, Linux {result['machine']['kernel']}; {length}.", size=11, fill="#666")
    at = 12
    for label, colour in KINDS:
        out += f'<rect x="{at}" y="56" width="12" height="12" fill="{colour}"/>\n' + text(at + 17, 66, label, size=11)
        at += 36 + 6.2 * len(label)
    for decade in range(low, high + 1):
        line = x(10**decade)
        out += f'<line x1="{line:.1f}" y1="{TOP - 10}" x2="{line:.1f}" y2="{height - BOTTOM + 4}" stroke="#ddd"/>\n'
        out += text(line, height - BOTTOM + 20, shown(10**decade), "middle", 11, fill="#666")
    y = TOP
    for title, systems in groups:
        out += text(12, y + 14, title, weight="bold")
        y += GAP - 12
        for name, figures in systems:
            out += text(LABELS - 8, y + BAR - 2, name, "end")
            spent = figures.get("cpu_us", 0)
            if spent > 0:
                colour = KINDS[kind(name, result["systems"][name])][1]
                out += f'<rect x="{LABELS}" y="{y}" width="{max(x(spent) - LABELS, 1):.1f}" height="{BAR}" fill="{colour}"/>\n'
                out += text(x(spent) + 5, y + BAR - 2, said_of(figures), size=11)
            else:
                out += text(LABELS + 5, y + BAR - 2, "failed", size=11, fill="#a33")
            y += ROW
        y += 12
    return out + "</svg>\n"
