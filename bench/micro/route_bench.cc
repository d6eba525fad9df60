// Micro benchmarks of the suffix table: lookups, dependent and together, beside one dependent
// random read of 64 octets from a block of the same size and page size in the same run; and the
// build from text.
//
// And the list of a pool's recipients, from text: recipients/COUNT, with time_ns and octets a name.
//
// usage: bench-route [--benchmark_filter=REGEX ...] [DOMAIN-LIST]
//   DOMAIN-LIST  a file of domains, one a line, to build and look up too: `list` in the names below
//
// Names: lookup/KIND/RULES, together/KIND/RULES, build/RULES; KIND: hit (the domain of a rule),
// subdomain (one below it), miss. Counters: time_ns, a lookup or a rule; read_ns, one dependent
// random read; ratio, their quotient, the median of rounds that take turns, so that a noisy machine
// disturbs both alike, by the thread's own clock; allocations, a lookup or a rule.

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "postern/mail/domain.h"
#include "postern/route/rules.h"
#include "spent.h"

namespace {

using postern::bench::Spent;
using postern::route::Loaded;
using postern::route::Match;
using postern::route::Query;
using postern::route::Table;

constexpr std::size_t queries_max = 1 << 20;
constexpr std::size_t round = 1 << 12;  // lookups between two looks at the clock
constexpr std::int64_t list = 0;        // instead of a number of rules: those of DOMAIN-LIST

std::vector<std::string> list_domains;

std::mt19937_64& randomness() {
    static std::mt19937_64 generator(20261122);
    return generator;
}

postern::route::Secrets make_secrets() {
    postern::route::Secrets secrets;
    for (auto& number : secrets.numbers) {
        for (auto& word : number) {
            word = randomness()();
        }
    }
    return secrets;
}

std::string random_label(std::size_t shortest, std::size_t longest) {
    std::string label(shortest + randomness()() % (longest - shortest + 1), ' ');
    for (char& c : label) {
        c = "abcdefghijklmnopqrstuvwxyz0123456789"[randomness()() % 36];
    }
    return label + "x";  // so that no label is a number
}

/// Three in four names have two labels, one in five three, the rest four, under tops as frequent as
/// they are in mail.
std::string random_domain() {
    static const char* const tops[] = {
        "com", "com", "com", "com", "net", "org", "de", "co.uk", "io", "fr", "info", "com.br"};
    std::string name = random_label(4, 14) + "." + tops[randomness()() % std::size(tops)];
    for (std::uint64_t dice = randomness()() % 100; dice < 24; dice += 20) {
        name = random_label(2, 8) + "." + name;
    }
    return name;
}

struct Rules {
    std::vector<std::string> domains;
    std::string text;
    std::unique_ptr<const Table> table;
};

Loaded load_text(const std::string& text) {
    postern::route::RuleSettings settings;
    for (char c = 'a'; c <= 'p'; ++c) {
        settings.pools.push_back(std::string("cluster-") + c);
    }
    postern::route::Source source{"bench.rules", text};
    return postern::route::load({&source, 1}, settings, make_secrets());
}

/// Kept for the whole run, the largest of them alone.
Rules& rules_of(std::int64_t count) {
    static std::map<std::int64_t, Rules> known;
    Rules& rules = known[count];
    if (rules.table != nullptr) {
        return rules;
    }
    if (count == list) {
        rules.domains = list_domains;
    } else {
        rules.domains.reserve(static_cast<std::size_t>(count));
        for (std::int64_t i = 0; i < count; ++i) {
            rules.domains.push_back(random_domain());
        }
    }
    std::sort(rules.domains.begin(), rules.domains.end());
    rules.domains.erase(
        std::unique(rules.domains.begin(), rules.domains.end()), rules.domains.end());
    std::shuffle(rules.domains.begin(), rules.domains.end(), randomness());
    for (const std::string& domain : rules.domains) {
        rules.text += domain;
        rules.text += "  cluster-";
        rules.text += static_cast<char>('a' + randomness()() % 16);
        rules.text += '\n';
    }
    Loaded loaded = load_text(rules.text);
    if (loaded.table == nullptr) {
        std::fprintf(stderr, "bench-route: %s\n", loaded.errors.front().c_str());
        std::exit(1);
    }
    rules.table = std::move(loaded.table);
    return rules;
}

enum Kind : std::int64_t { hit, subdomain, miss };

/// Queries in random order, their names one behind the other in memory, so that reading them costs
/// no miss.
struct Queries {
    std::string names;
    std::vector<Query> queries;

    Queries(const Rules& rules, Kind kind) {
        std::vector<std::size_t> sizes;
        for (std::size_t i = 0; i < queries_max; ++i) {
            const std::string& domain = rules.domains[randomness()() % rules.domains.size()];
            std::string name = kind == hit         ? domain
                               : kind == subdomain ? random_label(1, 6) + "." + domain
                                                   : random_domain();
            names += name;
            sizes.push_back(name.size());
        }
        std::size_t at = 0;
        for (std::size_t size : sizes) {
            queries.push_back({std::string_view(names).substr(at, size), {}});
            at += size;
        }
    }
};

/// A block like the table's, of lines that hold zeros, and the order in which to read it.
class Lines {
   public:
    explicit Lines(std::size_t octets) : octets_(octets), order_(queries_max) {
        memory_ = static_cast<char*>(
            mmap(nullptr, octets_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        madvise(memory_, octets_, MADV_HUGEPAGE);
        std::fill(memory_, memory_ + octets_, 0);
        for (std::uint32_t& line : order_) {
            line = static_cast<std::uint32_t>(randomness()() % (octets_ / 64));
        }
    }

    ~Lines() { munmap(memory_, octets_); }

    /// Each address depends on what the read before it gave.
    std::uint64_t read(std::size_t begin, std::size_t count) const {
        std::uint64_t value = 0;
        for (std::size_t i = begin; i < begin + count; ++i) {
            value = *reinterpret_cast<const volatile std::uint64_t*>(
                memory_ + (order_[i] + value) * 64);
        }
        return value;
    }

   private:
    std::size_t octets_;
    char* memory_;
    std::vector<std::uint32_t> order_;
};

/// This thread's own time: what others do on the machine counts only as far as they take its caches
/// and its memory.
double now_ns() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

double median(std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

/// Takes turns between `work(begin)`, which looks up `round` queries, and reads of a block like the
/// table's.
template <class Work>
void compare(benchmark::State& state, const Rules& rules, Work work) {
    Lines lines(rules.table->bucket_octets());
    std::vector<double> times, reads, ratios;
    Spent spent;
    std::size_t begin = 0;
    std::size_t rounds = 0;
    for (auto _ : state) {
        double start = now_ns();
        benchmark::DoNotOptimize(lines.read(begin, round));
        double middle = now_ns();
        spent.begin();
        work(begin);
        spent.end();
        double end = now_ns();
        reads.push_back((middle - start) / round);
        times.push_back((end - middle) / round);
        ratios.push_back(times.back() / reads.back());
        state.SetIterationTime(times.back() * round / 1e9);
        begin = (begin + round) % queries_max;
        ++rounds;
    }
    state.counters["time_ns"] = median(times);
    state.counters["read_ns"] = median(reads);
    state.counters["ratio"] = median(ratios);
    spent.report(state, static_cast<double>(rounds * round));
    state.counters["octets_a_rule"] =
        static_cast<double>(rules.table->octets()) / rules.table->rule_count();
}

void lookup(benchmark::State& state) {
    const Rules& rules = rules_of(state.range(1));
    Queries queries(rules, static_cast<Kind>(state.range(0)));
    const Table& table = *rules.table;
    std::uint32_t zero = 0;
    benchmark::DoNotOptimize(zero);
    compare(state, rules, [&](std::size_t begin) {
        std::uint32_t previous = 0;
        for (std::size_t i = begin; i < begin + round; ++i) {
            // Where the next name stands depends on what was found before: nothing overlaps.
            std::string_view name = queries.queries[i].domain_key;
            Match match = table.look_up({{name.data() + (previous & zero), name.size()}, {}});
            previous = match.rule ^ match.action;
        }
        benchmark::DoNotOptimize(previous);
    });
}

void together(benchmark::State& state) {
    const Rules& rules = rules_of(state.range(1));
    Queries queries(rules, static_cast<Kind>(state.range(0)));
    constexpr std::size_t recipients = 1000;
    static std::vector<Match> matches(recipients);
    compare(state, rules, [&](std::size_t begin) {
        for (std::size_t i = begin; i < begin + round; i += recipients) {
            std::size_t count = std::min(recipients, begin + round - i);
            rules.table->look_up(
                std::span(queries.queries).subspan(i, count), std::span(matches).first(count));
        }
        benchmark::DoNotOptimize(matches.data());
    });
}

void build(benchmark::State& state) {
    const Rules& rules = rules_of(state.range(0));
    Spent spent;
    std::vector<double> times;
    for (auto _ : state) {
        double start = now_ns();
        spent.begin();
        Loaded loaded = load_text(rules.text);
        spent.end();
        times.push_back(now_ns() - start);
        state.SetIterationTime(times.back() / 1e9);
    }
    double rule_count = static_cast<double>(rules.domains.size());
    state.counters["time_ns"] = median(times) / rule_count;
    state.counters["seconds"] = median(times) / 1e9;
    spent.report(state, static_cast<double>(times.size()) * rule_count);
    state.counters["octets_a_rule"] = static_cast<double>(rules.table->octets()) / rule_count;
}

void recipients(benchmark::State& state) {
    std::string text;
    for (std::int64_t i = 0; i < state.range(0); ++i) {
        text += random_label(4, 10) + "." + random_label(4, 10) + "@";
        text += i % 10 == 0 ? random_domain() : "example.com";
        text += '\n';
    }
    const postern::route::Source source{"bench.list", text};
    std::vector<double> times;
    double octets = 0;
    for (auto _ : state) {
        const double start = now_ns();
        const auto loaded = postern::route::load_recipients({&source, 1}, "+", {1, 2});
        times.push_back(now_ns() - start);
        state.SetIterationTime(times.back() / 1e9);
        octets = static_cast<double>(loaded.list->octets());
    }
    const auto count = static_cast<double>(state.range(0));
    state.counters["time_ns"] = median(times) / count;
    state.counters["octets_a_name"] = octets / count;
}

void read_list(const char* file) {
    std::ifstream stream(file);
    postern::mail::DomainKey key;
    for (std::string line; std::getline(stream, line);) {
        if (postern::mail::make_domain_key(line, key) && key.label_count > 1) {
            list_domains.emplace_back(key.view());
        }
    }
    if (list_domains.empty()) {
        std::fprintf(stderr, "bench-route: no domain in %s; it has one a line\n", file);
        std::exit(1);
    }
}

void register_all() {
    std::vector<std::int64_t> sizes = {1'000, 1'000'000, 10'000'000};
    if (!list_domains.empty()) {
        sizes.insert(sizes.begin(), list);
    }
    const char* const kinds[] = {"hit", "subdomain", "miss"};
    for (std::int64_t size : sizes) {
        std::string count = size == list ? "list" : std::to_string(size);
        for (std::int64_t kind : {hit, subdomain, miss}) {
            std::string name = std::string(kinds[kind]) + "/" + count;
            benchmark::RegisterBenchmark(("lookup/" + name).c_str(), lookup)
                ->Args({kind, size})
                ->UseManualTime()
                ->Apply(postern::bench::when_counted<20>);
            benchmark::RegisterBenchmark(("together/" + name).c_str(), together)
                ->Args({kind, size})
                ->UseManualTime()
                ->Apply(postern::bench::when_counted<20>);
        }
        benchmark::RegisterBenchmark(("build/" + count).c_str(), build)
            ->Arg(size)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond)
            ->Apply(postern::bench::when_counted<20>);
    }
    benchmark::RegisterBenchmark("recipients/1000000", recipients)
        ->Arg(1'000'000)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (argc > 1) {
        read_list(argv[1]);
    }
    register_all();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
