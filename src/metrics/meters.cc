#include "postern/metrics/meters.h"

#include <cinttypes>
#include <iterator>

namespace postern::metrics {

Series::Series(Subject s, std::string_view f, std::string_view g)
    : subject(s),
      first(f),
      second(g),
      lines_(std::make_unique<Line[]>((block_cells(s) + line_cells - 1) / line_cells)) {
    static_assert(sizeof(Line) == line_cells * sizeof(Cell));
}

Meters::Meters(Registry& registry, std::uint32_t its_number)
    : number(its_number), registry_(registry), own_(Subject::worker, "", "") {}

Series& Meters::listener(std::string_view name) {
    const bool admitted = registry_.admit(Registry::Kind::listener, name, "");
    return find(Subject::listener, admitted ? name : Registry::other, "");
}

Series& Meters::host(std::string_view pool, std::string_view host, bool by_rule) {
    const auto kind = by_rule ? Registry::Kind::rule_host : Registry::Kind::host;
    const bool admitted = registry_.admit(kind, pool, host);
    return find(
        Subject::host, admitted ? pool : Registry::other, admitted ? host : Registry::other);
}

Series& Meters::find(Subject subject, std::string_view first, std::string_view second) {
    // A listener has no second label, a host always has one.
    Series*& found = by_labels_[{std::string(first), std::string(second)}];
    if (found == nullptr) {
        found = &series_.emplace_back(subject, first, second);
        found->next_ = newest_.load(std::memory_order_relaxed);
        newest_.store(found, std::memory_order_release);
    }
    return *found;
}

Registry::Registry(std::uint32_t workers) {
    for (std::uint32_t i = 0; i <= workers; ++i) {
        meters_.emplace_back(*this, i);
    }
}

bool Registry::admit(Kind kind, std::string_view first, std::string_view second) {
    constexpr std::array<std::size_t, 3> bounds = {listeners_max, hosts_max, rule_hosts_max};
    const auto index = static_cast<std::size_t>(kind);
    const std::lock_guard held(lock_);
    auto& known = admitted_[index];
    std::pair<std::string, std::string> labels{first, second};
    if (known.size() < bounds[index]) {
        known.insert(std::move(labels));
        return true;
    }
    return known.contains(labels);
}

void count_reload(
    Meters& control,
    bool applied,
    std::uint64_t generation,
    std::uint64_t rules,
    base::WallTime now,
    base::Duration took) {
    Series& own = control.own();
    const bool reload = own.value<Metric::last_reload_time>() != 0;  // and not the start
    own.add<Metric::reloads>(reload && applied ? 1 : 0);
    own.add<Metric::reloads_failed>(applied ? 0 : 1);
    own.set<Metric::generation>(generation);
    own.set<Metric::rules>(rules);
    own.set<Metric::last_reload_succeeded>(applied ? 1 : 0);
    own.set<Metric::last_reload_time>(static_cast<std::uint64_t>(now.time_since_epoch().count()));
    own.set<Metric::last_reload_took>(static_cast<std::uint64_t>(took.count()));
}

void print_state(const Meters& meters, std::FILE* out) {
    std::fprintf(out, "postern: worker %" PRIu32 ":", meters.number);
    for (const Row& row : table) {
        if (!same_block(row.subject, Subject::worker) || row.type == Type::histogram) {
            continue;
        }
        const SplitRow split = row_of(row.split);
        for (std::size_t i = 0; i < cells_of(row); ++i) {
            const std::uint64_t value = meters.own().cell(offset_of(row.metric) + i);
            if (value == 0) {
                continue;
            }
            std::fprintf(out, " %.*s", static_cast<int>(row.name.size()), row.name.data());
            if (!split.values.empty()) {
                const std::string_view which = split.values[i];
                std::fprintf(out, "{%.*s}", static_cast<int>(which.size()), which.data());
            }
            std::fprintf(out, "=%" PRIu64, value);
        }
    }
    meters.for_each([out](const Series& series) {
        if (series.subject == Subject::listener) {
            std::uint64_t messages = 0;
            for (std::size_t i = 0; i < std::size(reply_class_names); ++i) {
                messages += series.cell(offset_of(Metric::listener_messages) + i);
            }
            std::fprintf(
                out,
                " listener %s: connections=%" PRIu64 " messages=%" PRIu64,
                series.first.c_str(),
                series.value<Metric::listener_connections_open>(),
                messages);
        } else if (series.subject == Subject::host) {
            std::fprintf(
                out,
                " host %s %s: connections=%" PRIu64 " trouble=%" PRIu64,
                series.first.c_str(),
                series.second.c_str(),
                series.value<Metric::host_connections_open>(),
                series.value<Metric::host_trouble>());
        }
    });
    std::fprintf(out, "\npostern: worker %" PRIu32 ": its last events:\n", meters.number);
    meters.recorder.print(out);
    std::fflush(out);
}

}  // namespace postern::metrics
