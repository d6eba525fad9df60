#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

/// Latencies in nanoseconds, counted in buckets whose width grows with the value: 64 to each power
/// of two, so a percentile is off by less than 1/64. One writer; `add` merges what several wrote.
namespace postern::bench {

class Histogram {
   public:
    Histogram() : counts_(bucket_of(~std::uint64_t{0}) + 1) {}

    void record(std::uint64_t value) {
        ++counts_[bucket_of(value)];
        ++count_;
        sum_ += static_cast<double>(value);
        max_ = value > max_ ? value : max_;
    }

    void add(const Histogram& other);

    std::uint64_t count() const { return count_; }

    std::uint64_t max() const { return max_; }

    double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

    /// The value that `percent` of all values do not exceed, up to 1/64 too high; 0 without values.
    std::uint64_t percentile(double percent) const;
    /// Those below `limit` alone, each counted as up to 1/64 more than it was.
    Histogram below(std::uint64_t limit) const;

   private:
    static constexpr unsigned sub_bits = 6;

    static std::size_t bucket_of(std::uint64_t value) {
        const unsigned width = static_cast<unsigned>(std::bit_width(value));
        const unsigned shift = width > sub_bits + 1 ? width - sub_bits - 1 : 0;
        return (std::size_t{shift} << sub_bits) + static_cast<std::size_t>(value >> shift);
    }

    static std::uint64_t last_value_of(std::size_t bucket);

    std::vector<std::uint64_t> counts_;
    std::uint64_t count_ = 0;
    std::uint64_t max_ = 0;
    double sum_ = 0;
};

}  // namespace postern::bench
