#pragma once

#include <bit>
#include <cstring>

#include "postern/base/assert.h"
#include "postern/route/table.h"

/// The block's layout and the hash, for the table and its builder.
namespace postern::route {

struct Table::Hash {
    std::uint64_t tag;
    std::uint32_t more_tag;
    std::uint32_t place;  // chooses the bucket

    bool operator==(const Hash&) const = default;
};

/// Three names: 96 bits of each one's hash, its rule, what that says, its marks. A name lies in the first bucket with room, from
/// its own on; a bucket that a name had to pass by says so, so that others need not be read.
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

/// The hashes of a name's suffixes, shortest first: of "a.example.com" those of "com", "example.com" and the whole.
class Table::Suffixes {
   public:
    Suffixes() = default;

    /// `name`: 1 to 8 * Secrets::words_max octets, which live as long as this.
    Suffixes(const Secrets& secrets, std::string_view name)
        : number_(secrets.numbers.data()), name_(name) {
        POSTERN_ASSERT(
            !name.empty() && name.size() <= 8 * Secrets::words_max, "a name is too long to hash");
        sum_ = {(*number_)[0] | static_cast<Wide>((*number_)[1]) << 64, (*number_)[2]};
        next_word();
    }

    /// Whether next() has given the whole name.
    bool done() const { return done_; }

    Hash next() {
        while (dots_ == 0) {
            if (left_ == 0) {
                done_ = true;
                return plus(word_).hash();
            }
            sum_ = plus(word_);
            next_word();
        }
        // The name is read as little-endian words, so what stands further right is in the higher bits.
        int bit = 63 - std::countl_zero(dots_);
        dots_ ^= std::uint64_t{1} << bit;
        return plus(word_ >> bit >> 1 << bit << 1).hash();
    }

    /// The whole name's hash, its dots being none.
    Hash whole() {
        while (left_ != 0) {
            sum_ = plus(word_);
            next_word();
        }
        done_ = true;
        return plus(word_).hash();
    }

   private:
    __extension__ using Wide = unsigned __int128;

    struct Sum {
        Wide low;
        std::uint64_t high;
        Hash hash() const {
            auto middle = static_cast<std::uint64_t>(low >> 64);
            return {
                high,
                static_cast<std::uint32_t>(middle >> 32),
                static_cast<std::uint32_t>(middle)};
        }
    };

    /// sum + K * word, modulo 2^192.
    Sum plus(std::uint64_t word) const {
        const auto& k = *number_;
        Wide first = static_cast<Wide>(k[0]) * word;
        Wide second = static_cast<Wide>(k[1]) * word + (first >> 64);
        Wide low = sum_.low + (second << 64 | static_cast<std::uint64_t>(first));
        std::uint64_t high = sum_.high + k[2] * word + static_cast<std::uint64_t>(second >> 64);
        return {low, high + (low < sum_.low ? 1 : 0)};
    }

    /// The eight octets that end where the last word began, or those that are left in the high bits.
    void next_word() {
        std::size_t end = name_.size() - taken_;
        if (end >= 8) {
            std::memcpy(&word_, name_.data() + end - 8, 8);
            taken_ += 8;
        } else {
            word_ = first_octets(end);
            taken_ += end;
        }
        left_ = name_.size() - taken_;
        ++number_;
        // The exact test for octets equal to '.': borrow-free, so no octet disturbs its neighbour.
        constexpr std::uint64_t low_bits = 0x7f7f7f7f7f7f7f7f;
        std::uint64_t other = word_ ^ 0x2e2e2e2e2e2e2e2e;
        dots_ = ~(((other & low_bits) + low_bits) | other | low_bits);
    }

    /// The first `count` octets, 1 to 7, in the high bits of a word.
    std::uint64_t first_octets(std::size_t count) const {
        std::uint64_t word = 0;
        const char* begin = name_.data();
        if (name_.size() >= 8) {
            std::memcpy(&word, begin, 8);
        } else {
            for (std::size_t i = 0; i < count; ++i) {
                word |= static_cast<std::uint64_t>(static_cast<unsigned char>(begin[i])) << 8 * i;
            }
        }
        return word << 8 * (8 - count);
    }

    const std::array<std::uint64_t, 3>* number_ = nullptr;
    std::string_view name_;
    std::size_t taken_ = 0;  // octets, from the right, up to the current word's first
    std::size_t left_ = 0;
    std::uint64_t word_ = 0;
    std::uint64_t dots_ = 0;  // the top bit of each octet of word_ that is a dot and was not yet given
    Sum sum_{};               // K_0 and the words before this one
    bool done_ = false;
};

inline Table::Hash Table::hash_of(std::string_view name) const {
    return Suffixes(secrets_, name).whole();
}

inline void Table::prefetch(const Hash& hash) const {
    __builtin_prefetch(buckets_ + (static_cast<std::uint64_t>(hash.place) * bucket_count_ >> 32));
}

inline Table::Slot Table::find(const Hash& hash) const {
    auto at = static_cast<std::uint32_t>(
        static_cast<std::uint64_t>(hash.place) * bucket_count_ >> 32);
    for (;;) {
        Bucket& bucket = buckets_[at];
        for (unsigned i = 0; i < Bucket::slots; ++i) {
            if (bucket.tag[i] == hash.tag && bucket.more_tag[i] == hash.more_tag &&
                (bucket.marks[i] & Bucket::used) != 0) {
                return {&bucket, i};
            }
        }
        if (bucket.overflowed == 0) {
            return {};
        }
        at = at + 1 == bucket_count_ ? 0 : at + 1;
    }
}

}  // namespace postern::route
