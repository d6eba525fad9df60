#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "postern/route/difference.h"
#include "postern/shard/snapshot.h"

/// What a reload is asked for and what it comes to (product.md, sections 2 and 6). Plain values.
namespace postern::app {

struct ReloadOptions {
    bool dry_run = false;  // says what would be, and changes nothing
    bool force = false;    // however many rules are gone
};

/// Names of what is there now and was not, the other way round, and what is there as something
/// else.
struct Names {
    std::vector<std::string> added;
    std::vector<std::string> removed;
    std::vector<std::string> changed;
};

/// How many names a pool's list of recipients has, where that changed.
struct ListChange {
    std::string pool;
    std::uint32_t before = 0;
    std::uint32_t after = 0;

    /// As route::Difference::shrinks, by the counts.
    bool shrinks(std::uint32_t percent) const {
        return before > after && before - after > 100 &&
               std::uint64_t{before - after} * 100 > std::uint64_t{before} * percent;
    }
};

struct ReloadReport {
    enum class Result : std::uint8_t { applied, would_apply, refused };
    Result result = Result::refused;
    std::uint64_t generation = 0;       // in force behind it; of a dry run: as it would be
    std::vector<std::string> errors;    // why it was refused: "FILE:LINE:COLUMN: what", most often
    std::vector<std::string> warnings;  // "FILE:LINE:COLUMN: what", most often
    route::Difference rules;
    Names pools;
    Names listeners;
    std::vector<ListChange> lists;     // of pools with a list before and after
    std::vector<std::string> restart;  // keys that a restart alone applies; the rest is in force
    std::uint64_t ms = 0;              // from the request until it was in force
};

/// Fills in what two snapshots differ in.
void compare(const shard::Snapshot& before, const shard::Snapshot& after, ReloadReport& report);

/// The difference in one line: "rules +1 -0 ~2 of 3; 1 domain changes its smart host; ...".
std::string difference_line(const ReloadReport& report);
/// For people: a line for each error and warning, and then what came of it.
std::string to_text(const ReloadReport& report);

}  // namespace postern::app
