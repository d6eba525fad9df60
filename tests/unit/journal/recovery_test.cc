#include "postern/journal/recovery.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/unit/journal/spooled.h"

/// Each row of format.md's table is a test here, or of random_test.cc where it says so.
namespace postern::journal {
namespace {

using test::id_of;
using test::letter;
using test::SegmentFile;
using Verdict = Segment::Verdict;

/// Two acknowledged writes of a message each (0 and 1), and one of three messages (2, 3 and 4) in
/// three blocks, the last.
SegmentFile three_writes() {
    SegmentFile file(0);
    EXPECT_TRUE(file.put(letter(0)));
    file.flush();
    EXPECT_TRUE(file.put(letter(1)));
    file.flush();
    for (const std::uint32_t i : {2U, 3U, 4U}) {
        EXPECT_TRUE(file.put(letter(i, 3800)));
    }
    file.flush();
    EXPECT_EQ(file.last_to - file.last_from, 3 * block_size);
    return file;
}

void flip(std::string& octets, std::size_t at, unsigned bit = 0) {
    octets[at] = static_cast<char>(octets[at] ^ (1 << bit));
}

std::vector<Id> ids(const Recovered& recovered) {
    std::vector<Id> all;
    for (const Live& live : recovered.messages) {
        all.push_back(live.id);
    }
    return all;
}

std::vector<Id> ids_of(std::initializer_list<std::uint32_t> numbers) {
    std::vector<Id> all;
    for (const std::uint32_t number : numbers) {
        all.push_back(id_of(number));
    }
    return all;
}

std::vector<Situation> situations(const Recovered& recovered) {
    std::vector<Situation> all;
    for (const Finding& finding : recovered.findings) {
        all.push_back(finding.situation);
    }
    return all;
}

using Found = std::vector<Situation>;

TEST(Recovery, all_is_well) {
    const auto recovered = test::recover({three_writes().octets});
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2, 3, 4}));
    EXPECT_EQ(situations(recovered), Found{});
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::in_use);
    EXPECT_EQ(recovered.segments[0].live, 5U);
    EXPECT_EQ(recovered.sequence_max, 1U);
    EXPECT_EQ(recovered.messages[0].arrival_ms, 1700000000123);
}

TEST(Recovery, torn_tail) {
    SegmentFile file = three_writes();
    std::fill(file.octets.begin() + file.last_from + 5000, file.octets.end(), '\0');
    const auto recovered = test::recover({file.octets});
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2}));
    EXPECT_EQ(situations(recovered), Found{Situation::torn_tail});
    EXPECT_EQ(recovered.findings[0].gravity, Gravity::note);
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::in_use);
}

TEST(Recovery, torn_middle) {
    SegmentFile file = three_writes();
    std::fill_n(file.octets.begin() + file.last_from + block_size, 512, '\0');
    const auto recovered = test::recover({file.octets});
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2, 4}));
    EXPECT_EQ(situations(recovered), Found{Situation::torn_middle});
    EXPECT_EQ(recovered.findings[0].gravity, Gravity::note);
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::in_use);
}

TEST(Recovery, bad_checksum_of_what_was_acknowledged) {
    SegmentFile file = three_writes();
    flip(file.octets, block_size + 100);  // in the first message's payload
    auto recovered = test::recover({file.octets});
    EXPECT_EQ(ids(recovered), ids_of({1, 2, 3, 4}));
    ASSERT_EQ(situations(recovered), Found{Situation::damaged_record});
    EXPECT_EQ(recovered.findings[0].gravity, Gravity::damage);
    EXPECT_EQ(recovered.findings[0].id, id_of(0));
    EXPECT_EQ(
        recovered.findings[0].text,
        "segment-000000 at octet 4096: what was acknowledged does not match its sum (" +
            std::to_string(recovered.findings[0].size) +
            " octets, message 1HXYZ0010000000); it is left out, the rest is kept, and the file is "
            "set aside; look for errors of the disk");
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::set_aside);
    flip(file.octets, block_size + 30);  // in its header, too
    recovered = test::recover({file.octets});
    EXPECT_EQ(ids(recovered), ids_of({1, 2, 3, 4}));
    ASSERT_EQ(situations(recovered), Found{Situation::damaged_record});
    EXPECT_EQ(recovered.findings[0].offset, block_size);
    EXPECT_EQ(recovered.findings[0].id, Id{});
}

TEST(Recovery, each_bit_of_a_record_counts) {
    const SegmentFile file = three_writes();
    const auto whole = test::recover({file.octets});
    const Live& live = whole.messages[1];
    for (std::uint32_t i = 0; i < live.size * 8; ++i) {
        std::string octets = file.octets;
        flip(octets, live.offset + i / 8, i % 8);
        const auto recovered = test::recover({octets});
        EXPECT_EQ(ids(recovered), ids_of({0, 2, 3, 4})) << "bit " << i;
        EXPECT_EQ(situations(recovered), Found{Situation::damaged_record}) << "bit " << i;
    }
}

TEST(Recovery, missing_segment) {
    SegmentFile first(0, 3);
    ASSERT_TRUE(first.put(letter(0)));
    first.flush();
    SegmentFile third(2, 3);
    Recovery recovery(test::host);
    recovery.add(2, third.octets);
    recovery.add(0, first.octets);
    const auto recovered = recovery.finish();
    EXPECT_EQ(ids(recovered), ids_of({0}));
    ASSERT_EQ(situations(recovered), Found{Situation::missing_segment});
    EXPECT_EQ(recovered.findings[0].slot, 1U);
    EXPECT_EQ(recovered.findings[0].gravity, Gravity::damage);
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::dead);
}

/// With the right sum, as another version would write it.
std::string of_version_2(std::string octets) {
    octets[8] = 2;
    const std::uint64_t sum = check_of(std::string_view(octets).substr(0, block_size - 8));
    std::memcpy(octets.data() + block_size - 8, &sum, 8);
    return octets;
}

TEST(Recovery, other_version) {
    SegmentFile other(1, 2);
    ASSERT_TRUE(other.put(letter(0)));
    other.flush();
    SegmentFile ours(0, 2);
    ASSERT_TRUE(ours.batch.done(id_of(0), 1));
    ours.flush();
    const auto recovered = test::recover({ours.octets, of_version_2(other.octets)});
    EXPECT_TRUE(recovered.messages.empty());
    ASSERT_EQ(situations(recovered), Found{Situation::other_version});
    EXPECT_EQ(recovered.findings[0].gravity, Gravity::refused);
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::left_alone);
    // It may end a message that is in the other.
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::in_use);
}

TEST(Recovery, file_of_another_host) {
    SegmentFile file(0, 1, 16, HostId{5, 6});
    ASSERT_TRUE(file.put(letter(0)));
    file.flush();
    const auto recovered = test::recover({file.octets});
    EXPECT_TRUE(recovered.messages.empty());
    EXPECT_EQ(situations(recovered), Found{Situation::other_host});
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::left_alone);
    EXPECT_EQ(recovered.sequence_max, 0U);
}

TEST(Recovery, older_life_of_a_recycled_segment) {
    SegmentFile older = three_writes();
    SegmentFile file(0);
    file.header.epoch = 77;
    write_header(file.header, std::span<char, block_size>(file.octets.data(), block_size));
    std::copy(
        older.octets.begin() + 2 * block_size,
        older.octets.end(),
        file.octets.begin() + 2 * block_size);
    auto recovered = test::recover({file.octets});  // not zeroed, and nothing written yet
    EXPECT_TRUE(recovered.messages.empty());
    EXPECT_EQ(situations(recovered), Found{Situation::older_life});
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::dead);
}

TEST(Recovery, damaged_header) {
    SegmentFile file = three_writes();
    flip(file.octets, 60);
    const auto recovered = test::recover({file.octets});
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2, 3, 4}));
    EXPECT_EQ(situations(recovered), Found{Situation::damaged_header});
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::set_aside);
    EXPECT_EQ(
        recovered.segments[0].header.epoch,
        test::recover({three_writes().octets}).segments[0].header.epoch);
}

TEST(Recovery, torn_header) {
    for (const std::size_t lost : {512, 0}) {  // all behind the first sector, or all but the last
        SegmentFile file(0);
        std::fill_n(
            file.octets.begin() + static_cast<std::ptrdiff_t>(lost), block_size - 512, '\0');
        const auto recovered = test::recover({file.octets});
        EXPECT_EQ(situations(recovered), Found{Situation::torn_header});
        EXPECT_EQ(recovered.segments[0].verdict, Verdict::unused);
    }
}

TEST(Recovery, unused_file) {
    SegmentFile file = three_writes();
    std::fill_n(file.octets.begin(), block_size, '\0');  // freed, and its zeroing was cut short
    const auto recovered = test::recover({file.octets, ""});
    EXPECT_TRUE(recovered.messages.empty() && recovered.findings.empty());
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::unused);
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::unused);
}

TEST(Recovery, foreign_file) {
    const auto recovered = test::recover({std::string(100, 'x'), std::string(9000, 'x')});
    EXPECT_EQ(situations(recovered), (Found{Situation::foreign_file, Situation::foreign_file}));
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::left_alone);
}

TEST(Recovery, shortened_file) {
    SegmentFile file = three_writes();
    const auto recovered = test::recover({file.octets.substr(0, 3 * block_size)});
    EXPECT_EQ(ids(recovered), ids_of({0, 1}));
    EXPECT_EQ(situations(recovered), Found{Situation::shortened});
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::set_aside);
}

TEST(Recovery, file_under_another_name) {
    Recovery recovery(test::host);
    recovery.add(0, three_writes().octets);
    recovery.add(4, three_writes().octets);
    const auto recovered = recovery.finish();
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2, 3, 4}));
    EXPECT_EQ(situations(recovered), Found{Situation::misplaced});
    EXPECT_EQ(recovered.findings[0].slot, 4U);
}

/// Gives the third message's record another type.
std::string with_type(SegmentFile file, std::uint8_t type, bool skippable) {
    const auto recovered = test::recover({file.octets});
    const std::uint32_t offset = recovered.messages[2].offset;  // of the last write's first
    RecordHeader header;
    EXPECT_TRUE(read_record_header(file.octets, offset, test::host, header));
    header.type = type;
    header.skippable = skippable;
    write_record_header(header, test::host, offset, file.octets.data() + offset);
    return file.octets;
}

TEST(Recovery, unknown_type_that_may_be_passed_over) {
    const auto recovered = test::recover({with_type(three_writes(), 9, true)});
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 3, 4}));
    EXPECT_EQ(situations(recovered), Found{Situation::skipped_type});
}

TEST(Recovery, unknown_type_that_may_not) {
    const auto recovered = test::recover({with_type(three_writes(), 9, false)});
    EXPECT_TRUE(recovered.messages.empty());
    ASSERT_EQ(situations(recovered), Found{Situation::unknown_type});
    EXPECT_EQ(recovered.findings[0].gravity, Gravity::refused);
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::left_alone);
}

TEST(Recovery, same_message_twice) {
    // As a failed write leaves it, or a copy whose source was not freed yet; read in either order.
    SegmentFile first(0, 2);
    ASSERT_TRUE(first.put(letter(0, 100, 2)));
    first.flush();
    ASSERT_TRUE(first.put_step(id_of(0), 1, 1, {State::waiting, 1, 10}));
    first.flush();
    SegmentFile second(1, 2);
    ASSERT_TRUE(
        second.put(letter(0, 100, 2), 2, {{State::delivered, 1, 0}, {State::waiting, 2, 20}}));
    ASSERT_TRUE(second.put_step(id_of(0), 3, 1, {State::waiting, 3, 30}));
    second.flush();
    for (const bool reversed : {false, true}) {
        Recovery recovery(test::host);
        recovery.add(reversed ? 1 : 0, (reversed ? second : first).octets);
        recovery.add(reversed ? 0 : 1, (reversed ? first : second).octets);
        const auto recovered = recovery.finish();
        ASSERT_EQ(ids(recovered), ids_of({0}));
        EXPECT_TRUE(recovered.findings.empty());
        EXPECT_EQ(recovered.segments[recovered.messages[0].segment].slot, 1U);
        EXPECT_EQ(recovered.messages[0].revision, 3U);
        EXPECT_EQ(recovered.recipients[0].state, State::delivered);
        EXPECT_EQ(recovered.recipients[1].attempts, 3U);
        EXPECT_EQ(recovered.recipients[1].next_try_ms, 30);
        EXPECT_EQ(recovered.segments[reversed ? 1 : 0].verdict, Verdict::dead);
    }
    // The later is damaged: the earlier counts, with what is newer than it.
    flip(second.octets, block_size + 200);
    const auto recovered = test::recover({first.octets, second.octets});
    ASSERT_EQ(ids(recovered), ids_of({0}));
    EXPECT_EQ(recovered.messages[0].segment, 0U);
    EXPECT_EQ(recovered.recipients[1].attempts, 3U);
}

TEST(Recovery, a_message_that_is_over_stays_so) {
    SegmentFile first(0, 2);
    ASSERT_TRUE(first.put(letter(0)));
    ASSERT_TRUE(first.put(letter(1)));
    first.flush();
    SegmentFile second(1, 2);
    ASSERT_TRUE(second.batch.done(id_of(0), 1));
    second.flush();
    auto recovered = test::recover({first.octets, second.octets});
    EXPECT_EQ(ids(recovered), ids_of({1}));
    // The record of its end must not go before the message.
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::in_use);
    EXPECT_EQ(recovered.segments[1].about_oldest, 1U);
    ASSERT_TRUE(second.batch.done(id_of(1), 1));
    second.flush();
    recovered = test::recover({first.octets, second.octets});
    EXPECT_TRUE(recovered.messages.empty());
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::dead);
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::dead);
}

TEST(Recovery, records_whose_message_is_gone) {
    SegmentFile file(0);
    ASSERT_TRUE(file.put_step(id_of(0), 1, 0, {State::delivered, 1, 0}));
    ASSERT_TRUE(file.batch.done(id_of(0), 2));
    file.flush();
    const auto recovered = test::recover({file.octets});
    EXPECT_TRUE(recovered.messages.empty() && recovered.findings.empty());
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::dead);
}

/// Content in a segment of its own, its message in another.
struct Parted {
    SegmentFile stream{0, 2};
    SegmentFile own{1, 2};
    test::Letter large = letter(0, 20000);

    explicit Parted(bool commit = true) {
        Content content(large.content);
        std::vector<Part> parts;
        while (content.left() > 0) {
            Extent at;
            const std::uint32_t size = own.batch.part(large.id, content, at);
            if (size == 0) {
                own.flush();
            } else {
                parts.push_back({own.header.epoch, at.offset, size});
            }
        }
        own.flush();
        if (commit) {
            EXPECT_TRUE(stream.put(large, 0, {}, parts, large.content.size()));
            stream.flush();
        }
    }
};

TEST(Recovery, content_in_parts) {
    const Parted parted;
    const std::vector<std::string> files{parted.stream.octets, parted.own.octets};
    const auto recovered = test::recover(files);
    ASSERT_EQ(ids(recovered), ids_of({0}));
    EXPECT_EQ(test::content_of(recovered.messages[0], recovered, files), parted.large.content);
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::in_use);
    EXPECT_EQ(recovered.segments[1].live, 2U);
}

TEST(Recovery, parts_that_no_message_names) {
    const Parted parted(false);
    const auto recovered = test::recover({parted.stream.octets, parted.own.octets});
    EXPECT_TRUE(recovered.messages.empty() && recovered.findings.empty());
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::dead);
}

TEST(Recovery, missing_part) {
    Parted parted;
    flip(parted.own.octets, block_size + 1000);
    const auto recovered = test::recover({parted.stream.octets, parted.own.octets});
    EXPECT_TRUE(recovered.messages.empty());
    EXPECT_EQ(situations(recovered), (Found{Situation::damaged_record, Situation::missing_part}));
    EXPECT_EQ(recovered.segments[0].verdict, Verdict::set_aside);
    EXPECT_EQ(recovered.segments[1].verdict, Verdict::set_aside);
}

TEST(Recovery, torn_part_of_the_write_that_names_it) {
    SegmentFile file(0);
    const auto large = letter(0, 6000);
    Content content(large.content);
    Extent at;
    const std::uint32_t size = file.batch.part(large.id, content, at);
    ASSERT_EQ(size, 6000U);
    ASSERT_TRUE(file.put(large, 0, {}, {{file.header.epoch, at.offset, size}}, size));
    file.flush();
    flip(file.octets, at.offset + 100);
    const auto recovered = test::recover({file.octets});
    EXPECT_TRUE(recovered.messages.empty());
    EXPECT_EQ(situations(recovered), (Found{Situation::torn_middle, Situation::torn_tail}));
}

TEST(Recovery, more_workers_or_fewer_than_before) {
    // Who reads does not ask who wrote: every message is given, with where it lies.
    std::vector<std::string> files;
    for (std::uint32_t worker = 0; worker < 8; ++worker) {
        SegmentFile file(worker, 8);
        file.header.worker = worker;
        write_header(file.header, std::span<char, block_size>(file.octets.data(), block_size));
        ASSERT_TRUE(file.put(letter(worker)));
        file.flush();
        files.push_back(file.octets);
    }
    const auto recovered = test::recover(files);
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_TRUE(recovered.findings.empty());
    EXPECT_EQ(recovered.sequence_max, 8U);
}

TEST(Recovery, a_failed_write_and_its_repetition) {
    // The second write failed: of its three messages one reached the disk. The segment took no
    // more, and all three went to a new one.
    SegmentFile failed = three_writes();
    std::fill_n(failed.octets.begin() + failed.last_from + block_size, 2 * block_size, '\0');
    SegmentFile next(1, 2);
    for (const std::uint32_t i : {2U, 3U, 4U}) {
        ASSERT_TRUE(next.put(letter(i, 3800)));
    }
    next.flush();
    const auto recovered = test::recover({failed.octets, next.octets});
    EXPECT_EQ(ids(recovered), ids_of({0, 1, 2, 3, 4}));
    EXPECT_EQ(recovered.messages[2].segment, 1U);
    EXPECT_EQ(situations(recovered), Found{Situation::torn_tail});
}

TEST(Recovery, progress_about_a_recipient_that_is_not) {
    SegmentFile file(0);
    ASSERT_TRUE(file.put(letter(0)));
    ASSERT_TRUE(file.put_step(id_of(0), 1, 9, {State::delivered, 1, 0}));
    file.flush();
    const auto recovered = test::recover({file.octets});
    ASSERT_EQ(ids(recovered), ids_of({0}));
    EXPECT_EQ(recovered.recipients[0].state, State::waiting);
}

TEST(Recovery, memory_of_a_million_messages) {
    std::uint32_t count = 0;
    const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    Recovery recovery(test::host);
    std::size_t rounds = 0;
    for (; count < 1000000; ++rounds) {
        SegmentFile next(0, 1, 16000);
        while (next.offset + 4 * block_size <= next.octets.size() && count < 1000000) {
            if (next.put(letter(count, 10))) {
                ++count;
            } else {
                next.flush();
            }
        }
        next.flush();
        recovery.add(static_cast<std::uint32_t>(rounds), next.octets);
    }
    const std::size_t reading = mallinfo2().uordblks + mallinfo2().hblkhd;
    const auto recovered = recovery.finish();
    EXPECT_EQ(recovered.messages.size(), 1000000U);
    // Twice at most what they hold: vectors grow by doubling. Sanitizers count nothing here.
    EXPECT_LE(reading - before, 1000000U * 2 * (64 + 24) + (1U << 20));
    EXPECT_EQ(sizeof(Live), 56U);
    EXPECT_EQ(sizeof(LiveRecipient), 24U);
}

}  // namespace
}  // namespace postern::journal
