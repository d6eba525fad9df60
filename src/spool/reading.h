#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kept_access.h"
#include "postern/journal/recovery.h"
#include "segment.h"
#include "shared_replies.h"

namespace postern::spool {

/// Reads the segments of an earlier life and makes their messages anew, a file at a time: all files
/// once for what is live, then those with something live again, the oldest first, for the
/// envelopes. Blocks; one thread, that of the segments or of an Archive.
class Reading {
   public:
    /// `segments` outlive this; each is held until the reading is over. `unused`: slots of files
    /// that hold nothing. `troubles`: what is to be said of files that can not even be tried.
    Reading(
        const std::string& folder,
        const journal::HostId& host,
        std::vector<Segment*> segments,
        std::vector<std::uint32_t> unused,
        std::function<void(const std::string&)> say,
        std::vector<std::string> troubles);
    ~Reading();
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

    /// A file more; false: that was all. Then each segment knows what becomes of it.
    bool step();

    /// Messages that are complete, from where they are taken away. Each holds on to its segments.
    std::vector<Kept*> made;

    std::vector<journal::Finding> findings;

   private:
    struct Reply {
        std::uint32_t offset;
        std::uint32_t message;    // index in recovered_.messages
        std::uint32_t recipient;  // number
    };

    /// What is to be made from a segment.
    struct Visit {
        std::uint32_t segment = 0;            // index
        std::vector<std::uint32_t> messages;  // indices: their records lie here
        std::vector<Reply> replies;
        std::vector<std::uint32_t> complete;  // all of them is known behind this visit
    };

    void scan();
    void plan();
    void settle();
    void visit(Visit& visit);
    void take_replies(std::span<const Reply> replies, std::string_view payload, Segment& segment);
    Kept* make(std::uint32_t number, std::string_view payload);
    Segment* of_epoch(std::uint64_t epoch) const;
    bool read_whole(const Segment& segment);

    std::string folder_;
    journal::HostId host_;
    std::vector<Segment*> segments_;
    std::vector<std::uint32_t> unused_;
    std::function<void(const std::string&)> say_;
    std::vector<std::string> troubles_;
    std::unique_ptr<journal::Recovery> recovery_;
    journal::Recovered recovered_;
    std::vector<Visit> visits_;
    std::vector<Kept*> kept_;  // by number of recovered_.messages, until complete
    std::size_t scanned_ = 0;
    std::size_t visited_ = 0;
    SharedReplies replies_;
    bool settled_ = false;
    bool some_unread_ = false;  // what was not read may need all the rest
    std::unique_ptr<char, void (*)(void*)> memory_;
    std::size_t memory_size_ = 0;
    std::span<const char> octets_;  // of the file that was read last
};

}  // namespace postern::spool
