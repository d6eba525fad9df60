#include "bench/load/histogram.h"

#include <algorithm>
#include <cmath>

namespace postern::bench {

void Histogram::add(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        counts_[i] += other.counts_[i];
    }
    count_ += other.count_;
    sum_ += other.sum_;
    max_ = std::max(max_, other.max_);
}

std::uint64_t Histogram::percentile(double percent) const {
    const double wanted = std::ceil(percent / 100 * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        seen += counts_[i];
        if (seen > 0 && static_cast<double>(seen) >= wanted) {
            return std::min(last_value_of(i), max_);
        }
    }
    return max_;
}

Histogram Histogram::below(std::uint64_t limit) const {
    Histogram some;
    for (std::size_t i = 0; i < counts_.size() && last_value_of(i) < limit; ++i) {
        if (counts_[i] > 0) {
            some.counts_[i] = counts_[i];
            some.count_ += counts_[i];
            some.max_ = last_value_of(i);
            some.sum_ += static_cast<double>(some.max_) * static_cast<double>(counts_[i]);
        }
    }
    return some;
}

std::uint64_t Histogram::last_value_of(std::size_t bucket) {
    const std::size_t linear = std::size_t{2} << sub_bits;
    if (bucket < linear) {
        return bucket;
    }
    const std::size_t shift = (bucket >> sub_bits) - 1;
    const std::uint64_t first = (bucket - (shift << sub_bits)) << shift;
    return first + ((std::uint64_t{1} << shift) - 1);
}

}  // namespace postern::bench
