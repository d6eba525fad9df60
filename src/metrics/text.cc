#include "postern/metrics/text.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include <fmt/format.h>

namespace postern::metrics {
namespace {

using Labels = std::pair<std::string, std::string>;
using Cells = std::vector<std::uint64_t>;

std::string escape(std::string_view text, bool quotes) {
    std::string escaped;
    for (const char c : text) {
        if (c == '\n') {
            escaped += "\\n";
        } else if (c == '\\' || (quotes && c == '"')) {
            escaped += '\\';
            escaped += c;
        } else {
            escaped += c;
        }
    }
    return escaped;
}

/// Seconds without an exponent and without trailing zeros.
std::string seconds(std::uint64_t ns) {
    constexpr std::uint64_t second = 1'000'000'000;
    std::string text = fmt::format("{}.{:09}", ns / second, ns % second);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') {
        text.pop_back();
    }
    return text;
}

std::string_view type_text(Type type) {
    switch (type) {
        case Type::counter:
            return "counter";
        case Type::gauge:
        case Type::seconds:
            return "gauge";
        case Type::histogram:
            return "histogram";
    }
    return {};
}

/// Each subject's numbers, summed over the workers but for those of Subject::worker.
struct Sums {
    Sums(const Registry& registry, std::span<const CertificateExpiry> expiries) {
        for (const CertificateExpiry& each : expiries) {
            const auto ns = each.not_after.time_since_epoch().count();
            certificates[{each.file, {}}] = {
                static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0))};
        }
        for (const Meters& meters : registry.all()) {
            meters.for_each([&](const Series& series) {
                if (series.subject != Subject::worker) {
                    add(series.subject == Subject::listener ? listeners : hosts,
                        {series.first, series.second},
                        series);
                    return;
                }
                add(process, {}, series);
                if (meters.number < registry.workers()) {
                    add(workers, {fmt::format("{}", meters.number), {}}, series);
                }
            });
        }
    }

    const std::map<Labels, Cells>& of(Subject subject) const {
        switch (subject) {
            case Subject::process:
                return process;
            case Subject::worker:
                return workers;
            case Subject::listener:
                return listeners;
            case Subject::certificate:
                return certificates;
            case Subject::host:
                break;
        }
        return hosts;
    }

    std::map<Labels, Cells> process;
    std::map<Labels, Cells> workers;
    std::map<Labels, Cells> listeners;
    std::map<Labels, Cells> hosts;
    std::map<Labels, Cells> certificates;

   private:
    static void add(std::map<Labels, Cells>& to, const Labels& labels, const Series& series) {
        Cells& cells = to[labels];
        cells.resize(block_cells(series.subject));
        for (std::size_t i = 0; i < cells.size(); ++i) {
            cells[i] += series.cell(i);
        }
    }
};

std::string subject_labels(Subject subject, const Labels& labels) {
    switch (subject) {
        case Subject::process:
            return {};
        case Subject::worker:
            return fmt::format("worker=\"{}\"", labels.first);
        case Subject::listener:
            return fmt::format("listener=\"{}\"", escape_label(labels.first));
        case Subject::certificate:
            return fmt::format("certificate=\"{}\"", escape_label(labels.first));
        case Subject::host:
            return fmt::format(
                "pool=\"{}\",host=\"{}\"", escape_label(labels.first), escape_label(labels.second));
    }
    return {};
}

/// {a,b}, or nothing where there is nothing in it.
std::string in_braces(std::string_view a, std::string_view b) {
    if (a.empty() && b.empty()) {
        return {};
    }
    return fmt::format("{{{}{}{}}}", a, a.empty() || b.empty() ? "" : ",", b);
}

void write_histogram(
    std::string& text, std::string_view name, std::string_view labels, const std::uint64_t* cells) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i <= bucket_bounds_ns.size(); ++i) {
        count += cells[i];
        const std::string bound =
            i < bucket_bounds_ns.size() ? seconds(bucket_bounds_ns[i]) : "+Inf";
        fmt::format_to(
            std::back_inserter(text),
            "{}_bucket{} {}\n",
            name,
            in_braces(labels, fmt::format("le=\"{}\"", bound)),
            count);
    }
    fmt::format_to(
        std::back_inserter(text),
        "{0}_sum{1} {2}\n{0}_count{1} {3}\n",
        name,
        in_braces(labels, {}),
        seconds(cells[bucket_bounds_ns.size() + 1]),
        count);
}

void write_series(std::string& text, const Row& row, const Labels& labels, const Cells& all_cells) {
    const std::string subject = subject_labels(row.subject, labels);
    const SplitRow split = row_of(row.split);
    const std::size_t values = std::max<std::size_t>(split.values.size(), 1);
    for (std::size_t i = 0; i < values; ++i) {
        std::string all = subject;
        if (!split.values.empty()) {
            all += fmt::format(
                "{}{}=\"{}\"", all.empty() ? "" : ",", split.label, escape_label(split.values[i]));
        }
        const std::uint64_t* const cells =
            all_cells.data() + offset_of(row.metric) + i * cells_each(row.type);
        if (row.type == Type::histogram) {
            write_histogram(text, row.name, all, cells);
        } else {
            fmt::format_to(
                std::back_inserter(text),
                "{}{} {}\n",
                row.name,
                in_braces(all, {}),
                row.type == Type::seconds ? seconds(*cells) : fmt::format("{}", *cells));
        }
    }
}

}  // namespace

std::string escape_label(std::string_view value) {
    return escape(value, true);
}

std::string escape_help(std::string_view text) {
    return escape(text, false);
}

std::string to_text(const Registry& registry, std::span<const CertificateExpiry> certificates) {
    const Sums sums(registry, certificates);
    std::string text;
    for (const Row& row : table) {
        fmt::format_to(
            std::back_inserter(text),
            "# HELP {0} {1}\n# TYPE {0} {2}\n",
            row.name,
            escape_help(row.help),
            type_text(row.type));
        for (const auto& [labels, cells] : sums.of(row.subject)) {
            write_series(text, row, labels, cells);
        }
    }
    return text;
}

}  // namespace postern::metrics
