#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "postern/base/assert.h"
#include "postern/base/time.h"
#include "postern/metrics/recorder.h"
#include "postern/metrics/table.h"

/// The numbers. Each worker counts in blocks of its own, by plain stores: no locked instruction, no
/// line that another worker writes; who reads adds the workers up.
namespace postern::metrics {

template <class Which>
inline constexpr Split split_by = Split::none;
template <>
inline constexpr Split split_by<ReplyClass> = Split::reply_class;
template <>
inline constexpr Split split_by<Phase> = Split::phase;
template <>
inline constexpr Split split_by<Holder> = Split::holder;
template <>
inline constexpr Split split_by<Handshake> = Split::handshake;
template <>
inline constexpr Split split_by<TlsVersion> = Split::tls_version;
template <>
inline constexpr Split split_by<Limit> = Split::limit;
template <>
inline constexpr Split split_by<Resource> = Split::resource;

/// One worker's numbers of one subject (a listener, a host, the worker itself). Written by that
/// worker, read by any thread. Lives as long as its Meters, so that no number ever shrinks.
class Series {
   public:
    Series(Subject subject, std::string_view first, std::string_view second);

    template <Metric metric, class... Which>
    void count(Which... which) {
        add<metric>(1, which...);
    }

    /// Subtracting from a gauge is adding a negative number: sums over workers are right.
    template <Metric metric, class... Which>
    void add(std::int64_t amount, Which... which) {
        static_assert(row_of(metric).type != Type::histogram);
        Cell& cell = cell_of<metric>(which...);
        store(cell, load(cell) + static_cast<std::uint64_t>(amount));
    }

    template <Metric metric, class... Which>
    void set(std::uint64_t value, Which... which) {
        static_assert(row_of(metric).type != Type::histogram);
        store(cell_of<metric>(which...), value);
    }

    template <Metric metric, class... Which>
    void observe(base::Duration duration, Which... which) {
        static_assert(row_of(metric).type == Type::histogram);
        Cell* const cells = &cell_of<metric>(which...);
        const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
        const auto bucket = std::lower_bound(bucket_bounds_ns.begin(), bucket_bounds_ns.end(), ns) -
                            bucket_bounds_ns.begin();
        store(cells[bucket], load(cells[bucket]) + 1);
        Cell& sum = cells[bucket_bounds_ns.size() + 1];
        store(sum, load(sum) + ns);
    }

    // --- any thread ---
    template <Metric metric, class... Which>
    std::uint64_t value(Which... which) const {
        return load(const_cast<Series*>(this)->cell_of<metric>(which...));
    }

    std::uint64_t cell(std::size_t number) const {
        return load(lines_[number / line_cells].cells[number % line_cells]);
    }

    const Subject subject;
    const std::string first;   // the listener, or the pool
    const std::string second;  // the host

   private:
    friend class Meters;
    using Cell = std::atomic<std::uint64_t>;
    static constexpr std::size_t line_cells = 8;

    struct alignas(64) Line {
        std::array<Cell, line_cells> cells{};
    };

    static std::uint64_t load(const Cell& cell) { return cell.load(std::memory_order_relaxed); }

    static void store(Cell& cell, std::uint64_t value) {
        cell.store(value, std::memory_order_relaxed);
    }

    template <Metric metric, class... Which>
    Cell& cell_of(Which... which) {
        constexpr Row row = row_of(metric);
        static_assert(sizeof...(Which) == (row.split == Split::none ? 0 : 1));
        static_assert(((split_by<Which> == row.split) && ...));
        POSTERN_ASSERT(same_block(row.subject, subject), "a metric is counted at its own subject");
        constexpr std::size_t begin = offset_of(metric);
        const std::size_t number =
            begin + (std::size_t{0} + ... + static_cast<std::size_t>(which)) * cells_each(row.type);
        // A Line holds nothing but its cells, so they lie one behind the other.
        return lines_[0].cells.data()[number];
    }

    std::unique_ptr<Line[]> lines_;
    const Series* next_ = nullptr;
};

class Registry;

/// All numbers and the last events of one worker (or of the control thread). Written by that thread
/// alone.
class Meters {
   public:
    Meters(Registry& registry, std::uint32_t number);
    Meters(const Meters&) = delete;
    Meters& operator=(const Meters&) = delete;

    /// Of the worker itself.
    Series& own() { return own_; }

    const Series& own() const { return own_; }

    /// The listener's or the host's, made when it is first asked for: not for each message. The
    /// numbers of one that comes again go on. Past their bounds all others count as `other`.
    Series& listener(std::string_view name);
    /// `by_rule`: a rule names the host itself.
    Series& host(std::string_view pool, std::string_view host, bool by_rule);

    /// Any thread: calls f(series) for each.
    template <class F>
    void for_each(F&& f) const {
        f(own_);
        for (const Series* s = newest_.load(std::memory_order_acquire); s != nullptr;
             s = s->next_) {
            f(*s);
        }
    }

    const std::uint32_t number;
    Recorder recorder;

   private:
    Series& find(Subject subject, std::string_view first, std::string_view second);

    Registry& registry_;
    Series own_;
    std::deque<Series> series_;
    std::map<std::pair<std::string, std::string>, Series*> by_labels_;
    std::atomic<const Series*> newest_{nullptr};
};

/// The Meters of all workers and of the control thread, and how many label values there may be.
class Registry {
   public:
    static constexpr std::size_t listeners_max = 1000;
    static constexpr std::size_t hosts_max = 10000;      // of configured pools
    static constexpr std::size_t rule_hosts_max = 1000;  // that rules name (product.md, section 6)
    static constexpr std::string_view other = "other";

    explicit Registry(std::uint32_t workers);

    std::uint32_t workers() const { return static_cast<std::uint32_t>(meters_.size() - 1); }

    Meters& worker(std::uint32_t number) { return meters_[number]; }

    const Meters& worker(std::uint32_t number) const { return meters_[number]; }

    /// The control thread's.
    Meters& control() { return meters_.back(); }

    const std::deque<Meters>& all() const { return meters_; }

   private:
    friend class Meters;
    enum class Kind : std::uint8_t { listener, host, rule_host };
    /// May it have numbers of its own? The same for all workers.
    bool admit(Kind kind, std::string_view first, std::string_view second);

    std::deque<Meters> meters_;
    std::mutex lock_;
    std::array<std::set<std::pair<std::string, std::string>>, 3> admitted_;
};

/// A start or a reload has ended. `rules`: how many are in force now. The control thread.
void count_reload(
    Meters& control,
    bool applied,
    std::uint64_t generation,
    std::uint64_t rules,
    base::WallTime now,
    base::Duration took);

/// What there is to say of a worker when something is wrong: its numbers and its last events, to
/// `out`. Any thread; allocates nothing.
void print_state(const Meters& meters, std::FILE* out);

}  // namespace postern::metrics
