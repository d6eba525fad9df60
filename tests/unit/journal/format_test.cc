#include "postern/journal/format.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace postern::journal {
namespace {

TEST(Id, keeps_every_text_that_it_takes) {
    std::array<char, 32> into{};
    for (const std::string text :
         {"0", "00", "Z", "1HXYZ000000000A", "01HXYZ00ABCDEFGHJKMNPQRST"}) {
        const auto id = id_from_text(text);
        ASSERT_TRUE(id) << text;
        EXPECT_EQ(std::string(into.data(), id_to_text(*id, into)), text);
    }
}

TEST(Id, refuses_what_it_cannot_keep) {
    EXPECT_FALSE(id_from_text(""));
    EXPECT_FALSE(id_from_text("abc"));
    EXPECT_FALSE(id_from_text("I"));
    EXPECT_FALSE(id_from_text(std::string(26, '0')));
}

TEST(Id, sorts_as_the_texts_do) {
    EXPECT_LT(*id_from_text("1HXYZ000"), *id_from_text("1HXYZ001"));
    EXPECT_LT(*id_from_text("1HXYZ00Z"), *id_from_text("1HXYZ010"));
}

class HeaderTest : public testing::Test {
   protected:
    const SegmentHeader header_{{1, 2}, 3, 4, 5, 6, 7, 64 << 20, 8};
    std::array<char, block_size> block_{};
    SegmentHeader read_;

    void SetUp() override { write_header(header_, block_); }
};

TEST_F(HeaderTest, is_read_as_it_was_written) {
    ASSERT_EQ(read_header(block_, read_), HeaderLook::good);
    EXPECT_EQ(read_, header_);
}

TEST_F(HeaderTest, each_octet_counts) {
    for (std::size_t i = 0; i < block_.size(); ++i) {
        block_[i] = static_cast<char>(block_[i] ^ 4);
        EXPECT_EQ(read_header(block_, read_), i < 8 ? HeaderLook::foreign : HeaderLook::damaged);
        block_[i] = static_cast<char>(block_[i] ^ 4);
    }
}

TEST_F(HeaderTest, of_a_cut_file) {
    EXPECT_EQ(read_header({}, read_), HeaderLook::unused);
    EXPECT_EQ(read_header(std::span(block_).first(4095), read_), HeaderLook::damaged);
    EXPECT_EQ(read_header(std::string(5000, '\0'), read_), HeaderLook::unused);
    EXPECT_EQ(read_header(std::string(5000, 'x'), read_), HeaderLook::foreign);
}

TEST(RecordHeader, is_good_only_where_it_was_written_and_by_that_host) {
    const HostId host{1, 2};
    std::string segment(3 * block_size, '\0');
    RecordHeader header{9, {1, 2}, 100, 1, 0, 1, false, true, 77};
    write_record_header(header, host, 4096, segment.data() + 4096);
    RecordHeader read;
    ASSERT_TRUE(read_record_header(segment, 4096, host, read));
    EXPECT_EQ(read.payload_check, 77U);
    EXPECT_TRUE(read.ends_write);
    EXPECT_FALSE(read_record_header(segment, 4096, {1, 3}, read));
    EXPECT_FALSE(read_record_header(segment, 4096, {3, 2}, read));
    EXPECT_FALSE(read_record_header(std::span(segment).first(4096 + 155), 4096, host, read));
    EXPECT_TRUE(read_record_header(std::span(segment).first(4096 + 156), 4096, host, read));
    segment.replace(8192, 56, segment, 4096, 56);
    EXPECT_FALSE(read_record_header(segment, 8192, host, read));
}

TEST(SegmentFileName, sorts) {
    EXPECT_EQ(segment_file_name(7), "segment-000007");
    EXPECT_EQ(segment_file_name(1234567), "segment-1234567");
}

}  // namespace
}  // namespace postern::journal
