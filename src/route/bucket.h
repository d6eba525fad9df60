#pragma once

#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "postern/base/assert.h"
#include "postern/route/table.h"
#include "weigh.h"

/// The block's layout and the hash, for the table and its builder.
namespace postern::route {

struct Table::Hash {
    std::uint64_t tag;
    std::uint32_t more_tag;
    std::uint32_t place;  // chooses the bucket

    bool operator==(const Hash&) const = default;
};

/// Three names: 96 bits of each one's hash, its rule, what that says, its marks. A name lies in the
/// first bucket with room, from its own on; a bucket that a name had to pass by says so, so that
/// others need not be read.
struct alignas(64) Table::Bucket {
    static constexpr unsigned slots = 3;
    // A slot's marks: a byte each of `marks`.
    static constexpr std::uint8_t used = 1;
    static constexpr std::uint8_t itself = 2;     // its rule takes the name
    static constexpr std::uint8_t below = 4;      // its rule takes the subdomains
    static constexpr std::uint8_t split = 8;      // several rules: `rule` is an index in splits_
    static constexpr std::uint8_t children = 16;  // longer names end in this one
    static constexpr std::uint8_t users = 32;     // user rules exist for this domain

    std::uint64_t tag[slots];
    std::uint32_t more_tag[slots];
    std::uint32_t rule[slots];
    std::uint32_t action[slots];
    std::uint8_t marks[slots];
    std::uint8_t overflowed;
};

struct Table::Slot {
    Bucket* bucket = nullptr;
    unsigned index = 0;

    explicit operator bool() const { return bucket != nullptr; }

    std::uint8_t& marks() const { return bucket->marks[index]; }

    bool has(std::uint8_t mark) const { return (marks() & mark) != 0; }

    Match match() const { return {bucket->rule[index], bucket->action[index]}; }
};

/// The hashes of a name's suffixes, shortest first: of "a.example.com" those of "com",
/// "example.com" and the whole. Works on 32 octets at a time, from the right, without branches on
/// what they hold: which names have how many labels of which length cannot be foretold, and a wrong
/// guess costs more than the words that are not needed.
class Table::Suffixes {
   public:
    /// `name`: 1 to 319 octets, which live as long as this. The first suffix has `labels` labels,
    /// or is the whole name.
    Suffixes(const Secrets& secrets, std::string_view name, unsigned labels) : name_(name) {
        POSTERN_ASSERT(
            !name.empty() && name.size() < 8 * Secrets::words_max, "a name that cannot be hashed");
        before_ = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&secrets.numbers[0]));
        number_ = secrets.numbers.data() + 1;
        rest_ = static_cast<unsigned>(name.size());
        read_block();
        for (; labels > 1; --labels) {
            next_octets();
        }
    }

    /// Whether next() has given the whole name; it would go on giving that.
    bool done() const { return done_; }

    Hash next() {
        unsigned octets = next_octets();
        done_ = octets == rest_;
        return hash(octets);
    }

    /// The whole name's hash, its dots being none.
    Hash whole() {
        while (rest_ > block_octets) {
            next_block();
        }
        return hash(rest_);
    }

   private:
    static constexpr unsigned block_octets = 8 * block_words;
    static constexpr unsigned page_octets = 4096;  // or a multiple of that

    /// Of the block's last `octets`, 0 to 32, and all blocks before it.
    Hash hash(unsigned octets) const {
        const __m128i sum = _mm_xor_si128(before_, weigh(left_, right_, octets, number_));
        const auto low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sum));
        return {
            static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum))),
            static_cast<std::uint32_t>(low >> 32),
            static_cast<std::uint32_t>(low)};
    }

    /// Of the block, behind its next dot, or all that the name has in it. Then that dot is given.
    unsigned next_octets() {
        while (dots_ == 0 && rest_ > block_octets) [[unlikely]] {
                next_block();
            }
        unsigned octets = dots_ == 0 ? rest_ : static_cast<unsigned>(std::countl_zero(dots_));
        dots_ &= static_cast<std::uint32_t>(~(std::uint64_t{0x80000000} >> octets));
        return octets;
    }

    void next_block() {
        before_ = _mm_xor_si128(before_, weigh(left_, right_, block_octets, number_));
        number_ += block_words;
        rest_ -= block_octets;
        read_block();
    }

    /// The last 32 octets of the first `rest_`. What lies there before the name is read with it
    /// where that cannot leave the page; no hash weighs it.
    void read_block() {
        const char* const end = name_.data() + rest_;
        if (rest_ >= block_octets ||
            reinterpret_cast<std::uintptr_t>(end) % page_octets >= block_octets) [[likely]] {
            load_before(end);
        } else {
            alignas(16) std::array<char, block_octets> copy{};
            std::memcpy(copy.data() + block_octets - rest_, name_.data(), rest_);
            load_before(copy.data() + block_octets);
        }
        auto dots = [](__m128i octets) {
            return static_cast<std::uint32_t>(
                _mm_movemask_epi8(_mm_cmpeq_epi8(octets, _mm_set1_epi8('.'))));
        };
        dots_ = dots(right_) << 16 | dots(left_);
        constexpr std::uint32_t all = 0xffffffff;
        dots_ &= rest_ < block_octets ? ~(all >> rest_) : all;
    }

    __attribute__((no_sanitize("address", "thread"))) void load_before(const char* end) {
        left_ = _mm_loadu_si128(reinterpret_cast<const __m128i*>(end - block_octets));
        right_ = _mm_loadu_si128(reinterpret_cast<const __m128i*>(end - block_octets / 2));
    }

    __m128i left_, right_;  // the block
    __m128i before_;        // K_0 and all words before the block's
    std::string_view name_;
    const Number* number_;    // of the block's last word
    unsigned rest_;           // octets of the name from its first to the block's last
    std::uint32_t dots_ = 0;  // in the block and not yet given, the last octet's bit on top
    bool done_ = false;
};

inline Table::Hash Table::hash_of(std::string_view name) const {
    return Suffixes(secrets_, name, 1).whole();
}

inline void Table::prefetch(const Hash& hash) const {
    __builtin_prefetch(buckets_ + (static_cast<std::uint64_t>(hash.place) * bucket_count_ >> 32));
}

inline Table::Slot Table::find(const Hash& hash) const {
    auto at =
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(hash.place) * bucket_count_ >> 32);
    for (;;) {
        Bucket& bucket = buckets_[at];
        // All at once: in which slot a name lies cannot be foretold. An empty slot is taken for the
        // name whose hash is zero, which is then known to have no rule.
        unsigned equal = 0;
        for (unsigned i = 0; i < Bucket::slots; ++i) {
            equal |= static_cast<unsigned>(bucket.tag[i] == hash.tag) << i;
        }
        for (; equal != 0; equal &= equal - 1) {  // one, but for what happens once in 2^64
            const auto i = static_cast<unsigned>(std::countr_zero(equal));
            if (bucket.more_tag[i] == hash.more_tag) [[likely]] {
                return {&bucket, i};
            }
        }
        if (bucket.overflowed == 0) {
            return {};
        }
        at = at + 1 == bucket_count_ ? 0 : at + 1;
    }
}

inline Match Table::match_itself(Slot slot) const {
    if (slot.has(Bucket::split)) [[unlikely]] {
        return splits_[slot.match().rule].itself;
    }
    return slot.has(Bucket::itself) ? slot.match() : Match{};
}

inline Match Table::match_below(Slot slot) const {
    if (slot.has(Bucket::split)) [[unlikely]] {
        return splits_[slot.match().rule].below;
    }
    return slot.has(Bucket::below) ? slot.match() : Match{};
}

}  // namespace postern::route
