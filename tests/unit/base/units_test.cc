#include "postern/base/units.h"

#include <gtest/gtest.h>

namespace postern::base {
namespace {

using namespace std::chrono_literals;

TEST(Duration, IsReadInEveryUnit) {
    EXPECT_EQ(parse_duration("500 ms"), Duration(500ms));
    EXPECT_EQ(parse_duration("20 s"), Duration(20s));
    EXPECT_EQ(parse_duration("20s"), Duration(20s));
    EXPECT_EQ(parse_duration("5 min"), Duration(5min));
    EXPECT_EQ(parse_duration("1 h"), Duration(1h));
    EXPECT_EQ(parse_duration("5 days"), Duration(120h));
    EXPECT_EQ(parse_duration("1 day"), Duration(24h));
    EXPECT_EQ(parse_duration("0 s"), Duration(0));
}

TEST(Duration, RefusesWhatIsNoDuration) {
    for (const char* text :
         {"",
          "5",
          "s",
          "5  s",
          "-5 s",
          "+5 s",
          "5.5 s",
          "5 S",
          "5 minutes",
          " 5 s",
          "5 s ",
          "0x5 s",
          "99999999999999999999 s",
          "36501 days"}) {
        EXPECT_EQ(parse_duration(text), std::nullopt) << text;
    }
}

TEST(Size, IsReadInEveryUnitAndBounded) {
    EXPECT_EQ(parse_size("100 B"), 100U);
    EXPECT_EQ(parse_size("64 KiB"), 65536U);
    EXPECT_EQ(parse_size("50 MiB"), 50U << 20);
    EXPECT_EQ(parse_size("1GiB"), 1U << 30);
    for (const char* text : {"", "10", "10 KB", "10 kib", "-1 B", "99999999999 GiB", "1 B x"}) {
        EXPECT_EQ(parse_size(text), std::nullopt) << text;
    }
}

TEST(Units, WhatIsFormattedIsReadBackTheSame) {
    for (const Duration d :
         {Duration(0),
          Duration(1ms),
          Duration(999ms),
          Duration(1s),
          Duration(90s),
          Duration(1h),
          Duration(24h),
          Duration(25h),
          Duration(48h)}) {
        EXPECT_EQ(parse_duration(format_duration(d)), d) << format_duration(d);
    }
    for (const std::uint64_t size :
         {0ULL, 1ULL, 1023ULL, 1024ULL, 1025ULL, 3ULL << 20, 1ULL << 30}) {
        EXPECT_EQ(parse_size(format_size(size)), size) << format_size(size);
    }
    EXPECT_EQ(format_duration(Duration(24h)), "1 day");
    EXPECT_EQ(format_duration(Duration(90s)), "90 s");
    EXPECT_EQ(format_size(65536), "64 KiB");
}

}  // namespace
}  // namespace postern::base
