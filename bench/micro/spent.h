#pragma once

#include <benchmark/benchmark.h>
#include <valgrind/valgrind.h>

#include <cstdint>

/// What a benchmark spends beside time, counted while begin() to end() encloses its work: heap
/// allocations of this thread (malloc, its relatives and operator new, in any library), and, where
/// the program runs under callgrind (bench/instructions.py), instructions. One thread.
namespace postern::bench {

class Spent {
   public:
    Spent();
    void begin();
    void end();
    /// Behind the benchmark's loop, which did `count` things: the counter `allocations`, for each
    /// of them; and callgrind's count, written out with `count` beside it.
    void report(benchmark::State& state, double count) const;

   private:
    std::uint64_t before_ = 0;
    std::uint64_t allocated_ = 0;
};

/// For Apply: under callgrind a benchmark runs so often and no more. By time it would run as often
/// as the machine is free, and what its first round brings along would weigh more or less.
template <int iterations>
void when_counted(benchmark::internal::Benchmark* benchmark) {
    if (RUNNING_ON_VALGRIND) {
        benchmark->Iterations(iterations);
    }
}

}  // namespace postern::bench
