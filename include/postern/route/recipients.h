#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/siphash.h"

/// A pool's list of the recipients that exist (its key `recipients_files`): read once by the
/// control thread, then an immutable value that any number of threads ask at once.
namespace postern::route {

/// A file's content, as rules.h has it.
struct Source;

/// A line names one recipient, `local@domain`, or with `@domain` every recipient of exactly that
/// domain, as in Postfix's relay_recipient_maps. Text, comments, BOM and line ends are those of
/// rules files, and beside that a line that begins with "#" is a comment whatever follows. One
/// recipient may stand there many times: lists come from several exports.
///
/// Of each name 128 bits of a keyed hash are the identity (SipHash, its key drawn for this list):
/// 32 choose the bucket, 96 are kept in it, 16 octets a name with the empty places. Nobody who does
/// not know the key can find a name that passes for another, and by chance a foreign one passes
/// with 2^-93 or less.
class Recipients {
   public:
    /// Whether the list has it. `local_part`: as written, quotes included; compared as user rules
    /// compare it: ASCII case ignored, quoted and unquoted one, the whole of it and then up to the
    /// recipient_delimiter. `domain_key`: by mail::make_domain_key. Allocates nothing.
    bool contains(std::string_view local_part, std::string_view domain_key) const;

    /// Names in it.
    std::uint32_t count() const { return count_; }

    /// Octets held.
    std::size_t octets() const { return buckets_.capacity() * sizeof(Bucket); }

    /// The files it was made of.
    const std::vector<std::string>& files() const { return files_; }

   private:
    friend class RecipientsBuilder;

    struct alignas(64) Bucket {
        static constexpr unsigned places = 5;
        std::uint64_t tag[places];
        std::uint32_t more_tag[places];
        std::uint8_t used;
        bool overflowed;  // a name had to pass by
    };

    Recipients() = default;
    bool has(const base::Hash128& hash) const;
    bool has_name(std::string_view local_part, std::string_view domain_key) const;

    std::size_t bucket_of(const base::Hash128& hash) const {
        return (hash.low & 0xffffffff) * buckets_.size() >> 32;
    }

    base::HashKey key_;
    std::vector<Bucket> buckets_;  // at least one
    std::uint32_t count_ = 0;
    std::string recipient_delimiter_;
    std::vector<std::string> files_;
};

struct LoadedRecipients {
    std::shared_ptr<const Recipients> list;  // null when there are errors
    std::vector<std::string> errors;  // all of them: "FILE:LINE:COLUMN: what is wrong, and what is
                                      // allowed"
};

/// Reads and checks all files of one pool. `recipient_delimiter`: as in RuleSettings. `key`:
/// random, of this list alone.
LoadedRecipients load_recipients(
    std::span<const Source> sources,
    const std::string& recipient_delimiter,
    const base::HashKey& key);

}  // namespace postern::route
