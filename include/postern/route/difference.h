#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "postern/route/table.h"

/// What a reload changes. Pure; for the control thread: it looks each rule up in the other table.
namespace postern::route {

struct Difference {
    std::uint32_t before = 0;  // rules
    std::uint32_t after = 0;
    std::uint32_t added = 0;
    std::uint32_t removed = 0;
    std::uint32_t changed = 0;  // the pattern stays, what it says does not
    /// Domains named by a rule of the above, that have a smart host before and after, and not the
    /// same: for themselves or for their subdomains.
    std::uint32_t domains_moved = 0;
    /// A rule that seems to have been meant to be a comment: "FILE:LINE:1: what".
    std::vector<std::string> warnings;
    std::vector<std::uint32_t> rules_added;  // in the table behind

    /// A larger part than `percent` of the rules is gone, and more than a hundred (rules.shrink_max
    /// of product.md, section 2).
    bool shrinks(std::uint32_t percent) const {
        return removed > 100 && std::uint64_t{removed} * 100 > std::uint64_t{before} * percent;
    }
};

Difference compare(const Table& before, const Table& after);

}  // namespace postern::route
