#include "postern/metrics/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace postern::metrics {
namespace {

TEST(Table, NamesFollowPrometheusRules) {
    std::set<std::string_view> names;
    for (const Row& row : table) {
        EXPECT_TRUE(row.name.starts_with("postern_")) << row.name;
        EXPECT_TRUE(std::all_of(row.name.begin(), row.name.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || c == '_';
        })) << row.name;
        EXPECT_TRUE(names.insert(row.name).second) << row.name << " stands there twice";
        EXPECT_EQ(row.name.ends_with("_total"), row.type == Type::counter) << row.name;
        EXPECT_TRUE(row.help.ends_with('.')) << row.name;
        if (row.type == Type::seconds || row.type == Type::histogram) {
            EXPECT_TRUE(row.name.ends_with("_seconds")) << row.name;
        }
    }
}

TEST(Table, CellsOfASubjectDoNotOverlap) {
    for (const Subject subject :
         {Subject::process, Subject::worker, Subject::listener, Subject::host}) {
        std::set<std::size_t> taken;
        for (const Row& row : table) {
            if (same_block(row.subject, subject)) {
                for (std::size_t i = 0; i < cells_of(row); ++i) {
                    EXPECT_TRUE(taken.insert(offset_of(row.metric) + i).second) << row.name;
                }
            }
        }
        EXPECT_EQ(taken.size(), block_cells(subject));
        EXPECT_EQ(*taken.rbegin(), block_cells(subject) - 1);
    }
}

TEST(Table, BucketsGrow) {
    EXPECT_TRUE(std::is_sorted(bucket_bounds_ns.begin(), bucket_bounds_ns.end()));
}

}  // namespace
}  // namespace postern::metrics
