#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/list.h"
#include "postern/journal/format.h"
#include "postern/journal/record.h"

/// A message that the spool answers for, as it is held in memory: all that is known of it but its
/// content.
namespace postern::spool {

class Segment;
// Tags of the spool's lists.
struct ToWrite;
struct Waiting;

/// What was said last of a recipient.
struct KeptReply {
    std::string text;                 // "450 4.2.1 mailbox busy"
    std::optional<std::string> host;  // which said so: "192.0.2.1:25"; empty: we did; nothing: not
                                      // known, as it is not on the disk
};

/// Held by all that were told the same (Spool::shared_reply); null: nothing yet.
using SharedReply = std::shared_ptr<const KeptReply>;

/// One recipient, with all that is known of it. Views live as long as its Kept.
struct KeptRecipient {
    std::string_view address;   // as accepted
    std::string_view original;  // ORCPT=, as it came
    SharedReply reply;
    std::int64_t next_try_ms = 0;  // wall clock; not before
    std::uint32_t attempts = 0;
    mail::NotifySet notify = 0;
    journal::State state = journal::State::waiting;
    bool delay_told = false;  // as journal::Recipient says it
};

/// A record, or a piece of one, in a segment that it holds on to.
struct Place {
    Segment* segment = nullptr;
    std::uint32_t offset = 0;  // of its record's header
    std::uint32_t size = 0;    // of the record, header included
};

/// A piece of content in a part record.
struct PartPlace {
    Segment* segment = nullptr;
    std::uint32_t offset = 0;  // of its record's header
    std::uint32_t size = 0;    // of content
};

/// One worker's; made by who hands it to Spool::keep, or by recovery, and destroyed behind
/// World::finished (or a failed keep). One piece of memory, texts included: 200 octets at most, and
/// what the recipients take. To destroy one that is stored changes nothing on the disk.
class Kept final : public base::ListLink<ToWrite>, public base::ListLink<Waiting> {
   public:
    /// Copies all texts of `message` and `recipients`.
    static Kept* make(
        const journal::Id& id,
        const journal::Message& message,
        std::uint64_t content_size,
        std::span<const journal::Recipient> recipients);
    /// REQUIRES: the spool has nothing to do for it (busy()).
    static void destroy(Kept* kept);

    journal::Id id() const { return id_; }

    /// The envelope and what else does not change; views live as long as this.
    journal::Message message() const;
    std::string_view reverse_path() const;

    std::int64_t arrival_ms() const { return arrival_ms_; }

    std::uint64_t content_size() const { return content_size_; }

    /// Changed by its owner, which then calls Spool::note.
    std::span<KeptRecipient> recipients();
    std::span<const KeptRecipient> recipients() const;
    bool held() const;
    void set_held(bool held);

    /// Something of it is being written or read, or waits for that.
    bool busy() const;

    /// Octets of memory.
    std::size_t octets() const;

    /// The owner's own use: where in its schedule the message stands. The spool does not look.
    struct Schedule {
        std::int64_t due_ms = 0;
        void* attempt = nullptr;
        std::uint32_t index = 0;  // in its heap
        std::uint32_t lane : 24 = 0;
        std::uint32_t state : 7 = 0;
        std::uint32_t watched : 1 = 0;  // its sender's being told of a delay has a time
    } schedule;

   private:
    friend struct KeptAccess;  // of the spool: src/spool/kept_access.h
    using Parts = std::vector<PartPlace>;

    Kept() = default;
    ~Kept() = default;
    char* texts();
    const char* texts() const;

    // What the spool knows of it.
    Place place_;                          // of its message record; none: not stored
    Segment* progress_segment_ = nullptr;  // of the newest progress record behind that
    std::unique_ptr<Parts> parts_;
    std::uint32_t progress_size_ = 0;
    std::uint32_t revision_ = 0;  // the highest that was written, or tried to be
    std::uint32_t oldest_ = 0;    // sequence of the first segment that has a message record of it
    std::uint8_t wants_ = 0;      // what is to be written: KeptAccess::Wants
    std::uint8_t under_way_ = 0;  // records of it in the write that is under way
    bool loading_ : 1 = false;
    bool over_ : 1 = false;    // as its owner says
    bool moving_ : 1 = false;  // being copied into another segment

    // The envelope.
    std::uint8_t mode_ : 2 = 0;
    std::uint8_t body_type_ : 2 = 0;
    std::uint8_t returned_ : 2 = 0;
    std::uint8_t bits_ = 0;
    journal::Id id_;
    std::int64_t arrival_ms_ = 0;
    std::int64_t expires_ms_ = 0;
    std::uint32_t content_size_ = 0;
    std::uint32_t recipient_count_ = 0;
    std::uint16_t reverse_path_size_ = 0;
    std::uint16_t envid_size_ = 0;
    std::uint16_t client_size_ = 0;
};

}  // namespace postern::spool
