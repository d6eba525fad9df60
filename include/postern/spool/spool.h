#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "postern/base/result.h"
#include "postern/io/mailbox.h"
#include "postern/io/ring.h"
#include "postern/journal/batch.h"
#include "postern/mail/body.h"
#include "postern/metrics/meters.h"
#include "postern/spool/kept.h"
#include "postern/spool/segments.h"

/// The corridor that mail waits in: brings messages, and what becomes of them, to stable storage,
/// all of a turn in one write, and reads them again. It knows nothing of rules, smart hosts or
/// retries. One worker's thread.
namespace postern::spool {

/// What the corridor asks of the rest of the worker. Implemented by `shard`. None of it is called
/// from inside a call of its own.
class World {
   public:
    /// What keep() was told of: `safe`: it is on stable storage. Else it is not, the spool has
    /// forgotten it, and the caller may destroy it.
    virtual void stored(Kept& kept, bool safe) = 0;
    /// What write() was told of: `safe`: it is on stable storage. Else it is not, and the spool has
    /// forgotten all that was begun there.
    virtual void piece_written(void* whose, bool safe) = 0;
    /// What load() was told of. An error (the disk does not give it, or what it gives is damaged)
    /// is one sentence.
    virtual void loaded(Kept& kept, const base::Result<void>& result) = 0;
    /// Its done record is on stable storage; the spool holds nothing of it any more: destroy it.
    virtual void finished(Kept& kept) = 0;
    /// A message of an earlier life of this process, the worker's from now on.
    virtual void recovered(Kept& kept) = 0;

   protected:
    ~World() = default;
};

/// The content of a message that is not whole yet, as the spool knows it.
struct Intake;

class Spool {
   public:
    /// `segments` is shared by all workers, and outlives them; so do the others.
    Spool(
        io::Ring& ring,
        io::Mailbox& mailbox,
        World& world,
        Segments& segments,
        std::uint32_t worker,
        metrics::Meters& meters);
    ~Spool();
    Spool(const Spool&) = delete;
    Spool& operator=(const Spool&) = delete;

    /// May mail be kept now? False: the disk is full, or below spool.min_free, or does not write
    /// any more.
    bool takes() const;

    /// Brings the message to stable storage. `content` is all of it; what it views must live, and
    /// not change, until World::stored.
    void keep(Kept& kept, const journal::Content& content);
    /// A message that arrives: its content goes to the disk piece by piece, until it is whole, and
    /// kept, or is dropped. `whose`: its owner's name for it, in World::piece_written.
    Intake& begin(const journal::Id& id, void* whose);
    /// The next piece, not empty. It must live, and not change, until World::piece_written or
    /// drop(). REQUIRES: the one before is written.
    void write(Intake& begun, const mail::Body& piece);
    /// It does not become a message. Not behind a World::piece_written that was not `safe`.
    void drop(Intake& begun);
    /// As the other, where `content` is behind what is written. REQUIRES: as for write().
    void keep(Kept& kept, Intake& begun, const journal::Content& content);
    /// Its recipients' state or held() have changed: a record follows with one of the next writes.
    /// Nobody is told. REQUIRES: stored.
    void note(Kept& kept);
    /// It is over; what note() was told goes with it. REQUIRES: stored, not being loaded.
    void finish(Kept& kept);
    /// Appends the first `octets_max` octets of the content to `into`, all of it checked against
    /// its sums. `into` takes buffers of the ring; who calls has reserved memory. REQUIRES: stored,
    /// neither finished nor being loaded.
    void load(Kept& kept, mail::Body& into, std::uint64_t octets_max = ~std::uint64_t{0});

    /// The same for all of whom the same is said.
    SharedReply shared_reply(std::string_view text, std::string_view host);

    /// Once behind every turn, as relay::Relay::flush: begins the write that holds all that the
    /// turn asked for, unless one is under way.
    void flush();
    /// Nothing is being written or read, or waits for that.
    bool idle() const;
    /// The disk took no write, and is given another soon; nothing is being written or read.
    bool stuck() const;
    /// The end. What only waits is given up: it is on the disk, and found there again. What was
    /// finished is told so (World::finished), from inside this call. REQUIRES: !under_way().
    void abandon();
    /// An operation of the ring has not ended: REQUIRED to be false before it is destroyed. What
    /// only waits is given up then.
    bool under_way() const;
    /// Messages that it has.
    std::uint64_t kept() const;
    /// Octets of memory that it holds, messages included.
    std::uint64_t held_octets() const;
    /// What its buffers hold of it, at most.
    static std::uint64_t buffer_octets_max();

    struct Implementation;

   private:
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace postern::spool
