#include "postern/mail/body.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace postern::mail {
namespace {

class BodyTest : public testing::Test {
   protected:
    base::BlockPool receive_pool_{4096, 1000};
    base::BlockPool tail_pool_{1024, 1000};
    base::BlockPool chain_pool_{256, 1000};
    Body body_{tail_pool_, chain_pool_};

    std::string content() const {
        std::string text;
        std::uint32_t slices = 0;
        for (Body::Cursor at = body_.begin(); at.slice() != nullptr; at.advance()) {
            EXPECT_GT(at.slice()->size, 0U);
            text += at.slice()->view();
            ++slices;
        }
        EXPECT_EQ(slices, body_.slice_count());
        EXPECT_EQ(text.size(), body_.size());
        return text;
    }

    static base::BlockRef filled(base::BlockPool& pool, const std::string& text) {
        base::BlockRef block = pool.take();
        std::memcpy(block->data(), text.data(), text.size());
        return block;
    }
};

TEST_F(BodyTest, keeps_large_runs_where_they_lie) {
    const std::string text(2000, 'x');
    const base::BlockRef block = filled(receive_pool_, text);
    ASSERT_TRUE(body_.append(block, {block->data(), 2000}, true, false));
    EXPECT_EQ(body_.begin().slice()->data, block->data());
    EXPECT_EQ(block->references, 2U);
    EXPECT_GE(body_.pinned(), 4096U);
    body_.clear();
    EXPECT_EQ(block->references, 1U);
    EXPECT_EQ(body_.pinned(), 0U);
    EXPECT_EQ(body_.size(), 0U);
    EXPECT_EQ(chain_pool_.used(), 0U);
}

TEST_F(BodyTest, copies_what_would_pin_much_more_than_it_holds) {
    const base::BlockRef block = filled(receive_pool_, std::string(4096, 'x'));
    ASSERT_TRUE(body_.append(block, {block->data(), 1000}, true, false));
    EXPECT_EQ(block->references, 1U);
    ASSERT_TRUE(body_.append(block, {block->data() + 2000, 1100}, false, false));
    EXPECT_EQ(block->references, 2U);
    // Pinned already: a run that is not short is referenced at no cost, a short one is copied.
    ASSERT_TRUE(body_.append(block, {block->data() + 3200, 600}, false, false));
    EXPECT_EQ(block->references, 3U);
    ASSERT_TRUE(body_.append(block, {block->data() + 3900, 100}, false, false));
    EXPECT_EQ(block->references, 3U);
    EXPECT_EQ(content(), std::string(2800, 'x'));
}

TEST_F(BodyTest, neighbours_become_one_slice) {
    const base::BlockRef block = filled(receive_pool_, std::string(4096, 'x'));
    ASSERT_TRUE(body_.append(block, {block->data(), 2000}, true, false));
    ASSERT_TRUE(body_.append(block, {block->data() + 2000, 5}, true, true));
    ASSERT_TRUE(body_.append_copy("one", false, false));
    ASSERT_TRUE(body_.append_copy("two", false, true));
    EXPECT_EQ(body_.slice_count(), 2U);
    Body::Cursor at = body_.begin();
    EXPECT_TRUE(at.slice()->begins_line);
    EXPECT_TRUE(at.slice()->has_dot_line);
    at.advance();
    EXPECT_EQ(at.slice()->view(), "onetwo");
    EXPECT_FALSE(at.slice()->begins_line);
    EXPECT_TRUE(at.slice()->has_dot_line);
    at.advance();
    EXPECT_EQ(at.slice(), nullptr);
}

TEST_F(BodyTest, says_when_a_pool_is_at_its_bound) {
    base::BlockPool small(64, 1);
    Body tail_bound(small, chain_pool_);
    EXPECT_TRUE(tail_bound.append_copy(std::string(64, 'x'), true, false));
    EXPECT_FALSE(tail_bound.append_copy("x", false, false));
    base::BlockPool one(64, 1);
    Body chain_bound(tail_pool_, one);
    const base::BlockRef block = filled(receive_pool_, std::string(4096, 'x'));
    EXPECT_TRUE(chain_bound.append(block, {block->data(), 1200}, true, false));
    EXPECT_TRUE(chain_bound.append_copy("x", false, false));
    EXPECT_FALSE(chain_bound.append(block, {block->data() + 2000, 1200}, true, false));
}

TEST_F(BodyTest, knows_its_end) {
    EXPECT_FALSE(body_.ends_with_crlf());
    ASSERT_TRUE(body_.append_copy("x", true, false));
    EXPECT_FALSE(body_.ends_with_crlf());
    ASSERT_TRUE(body_.append_copy("\r\n", false, false));
    EXPECT_TRUE(body_.ends_with_crlf());
}

TEST_F(BodyTest, refers_to_what_another_holds) {
    ASSERT_TRUE(body_.append_copy("x\r\n", true, false));
    ASSERT_TRUE(body_.append_copy(".y\r\n", true, true));
    const std::uint32_t used = tail_pool_.used() + chain_pool_.used();
    {
        Body other(tail_pool_, chain_pool_);
        other.refer_to(body_);
        EXPECT_EQ(other.size(), body_.size());
        EXPECT_EQ(other.slice_count(), body_.slice_count());
        EXPECT_EQ(other.pinned(), 0U);
        EXPECT_TRUE(other.ends_with_crlf());
        EXPECT_EQ(other.begin().slice(), body_.begin().slice());
        EXPECT_EQ(tail_pool_.used() + chain_pool_.used(), used);
    }
    EXPECT_EQ(content(), "x\r\n.y\r\n");
    EXPECT_EQ(tail_pool_.used() + chain_pool_.used(), used);
}

/// Runs of all sizes, referenced and copied: the content is theirs, and the marks are right.
TEST_F(BodyTest, takes_what_another_holds) {
    Body first;
    const std::string text(2000, 'x');
    const base::BlockRef block = filled(receive_pool_, text);
    ASSERT_TRUE(body_.append(block, {block->data(), 1000}, true, false));
    ASSERT_TRUE(body_.append_copy("\r\n.", false, true));
    const std::uint64_t pinned = body_.pinned();
    first.take(body_);
    EXPECT_EQ(first.size(), 1003U);
    EXPECT_EQ(first.pinned(), pinned);
    EXPECT_EQ(body_.size(), 0U);
    EXPECT_EQ(body_.pinned(), 0U);
    EXPECT_EQ(content(), "");
    // It goes on, in the same block or another, and neither sees the other's.
    ASSERT_TRUE(body_.append(block, {block->data() + 1000, 1000}, false, false));
    ASSERT_TRUE(body_.append_copy("end", false, false));
    EXPECT_EQ(content(), std::string(1000, 'x') + "end");
    first.clear();
    EXPECT_EQ(content(), std::string(1000, 'x') + "end");
    body_.clear();
    EXPECT_EQ(block->references, 1U);
    EXPECT_EQ(chain_pool_.used() + tail_pool_.used(), 0U);
}

TEST_F(BodyTest, holds_what_was_appended) {
    for (std::uint32_t seed = 1; seed <= 100; ++seed) {
        std::mt19937 random(seed);
        std::string expected;
        body_.clear();
        for (int i = 0; i < 60; ++i) {
            std::string text(random() % 4096 + 1, 'x');
            for (char& c : text) {
                c = random() % 30 == 0 ? '\n' : random() % 10 == 0 ? '.' : 'x';
            }
            const base::BlockRef block = filled(receive_pool_, text);
            std::string_view left(block->data(), text.size());
            while (!left.empty()) {
                const std::string_view run = left.substr(0, random() % 3000 + 1);
                left.remove_prefix(run.size());
                const bool begins_line = expected.empty() || expected.back() == '\n';
                const bool dot_line = (begins_line && run.front() == '.') ||
                                      run.find("\n.") != std::string_view::npos;
                ASSERT_TRUE(
                    random() % 4 == 0 ? body_.append_copy(run, begins_line, dot_line)
                                      : body_.append(block, run, begins_line, dot_line));
                expected += run;
            }
        }
        ASSERT_EQ(content(), expected) << "seed " << seed;
        std::string before = "\n";
        for (Body::Cursor at = body_.begin(); at.slice() != nullptr; at.advance()) {
            const Slice& slice = *at.slice();
            const bool begins_line = before.back() == '\n';
            ASSERT_EQ(slice.begins_line, begins_line) << "seed " << seed;
            const bool dot_line = (begins_line && slice.view().front() == '.') ||
                                  slice.view().find("\n.") != std::string_view::npos;
            ASSERT_TRUE(slice.has_dot_line || !dot_line) << "seed " << seed;
            before = slice.view();
        }
        const std::uint64_t in_use =
            std::uint64_t{receive_pool_.used()} * (4096 + sizeof(base::Block)) +
            std::uint64_t{tail_pool_.used()} * (1024 + sizeof(base::Block)) +
            std::uint64_t{chain_pool_.used()} * (256 + sizeof(base::Block));
        ASSERT_EQ(body_.pinned(), in_use) << "seed " << seed;
    }
    body_.clear();
    EXPECT_EQ(receive_pool_.used() + tail_pool_.used() + chain_pool_.used(), 0U);
}

}  // namespace
}  // namespace postern::mail
