#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "address_key.h"
#include "generations.h"
#include "groups.h"
#include "kept_refusals.h"
#include "lines.h"
#include "pool_shares.h"
#include "postern/base/object_pool.h"
#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/mail/submission.h"
#include "postern/notify/notification.h"
#include "postern/relay/relay.h"
#include "postern/route/decide.h"
#include "postern/spool/spool.h"
#include "queue.h"
#include "queue_desk.h"
#include "submissions.h"

namespace postern::shard {

/// What becomes of a message: who is responsible for it, and when its sender is told (product.md,
/// section 3). Hands it to the relay, to the spool, or to both, and tries what the spool keeps
/// until it is delivered, refused or expired. The worker's thread.
class Deliveries final : public spool::World, public ManagedQueue, private Queue::Router {
   public:
    /// What it asks of the rest of the worker.
    class World {
       public:
        /// The sender's final answer. Does nothing where the sender has gone.
        virtual void tell(mail::Submission& submission, const mail::Reply& reply) = 0;
        /// Its sender is told a 5xx: those of its recipients that the host refused count as wrong.
        virtual void wrong_recipients(const mail::Submission& submission) = 0;
        /// Looked at before bodies go, of a message that goes in several transactions.
        virtual bool has_gone(mail::Submission& submission) = 0;
        /// Nobody needs it any more.
        virtual void free(mail::Submission& submission) = 0;
        /// Memory for the body of one that is tried again, of the bound on all bodies.
        virtual bool reserve_again(mail::Submission& submission, std::uint64_t octets) = 0;
        /// More of its body may be received: it pauses no more.
        virtual void go_on(mail::Submission& submission) = 0;
        /// Of memory that was reserved for a submission, but is not counted there any more.
        virtual void give_back(const mail::Submission& submission, std::uint64_t octets) = 0;
        /// Room on the disk for what of a message arrives there before it is whole. False: it has
        /// to stay in memory.
        virtual bool reserve_on_disk(const mail::Submission& submission, std::uint64_t octets) = 0;
        virtual void give_back_on_disk(
            const mail::Submission& submission, std::uint64_t octets) = 0;
        /// Of the configuration in force: the listener's that the client came by.
        virtual const config::Listener& listener_of(const mail::Client& client) const = 0;

       protected:
        ~World() = default;
    };

    /// What it works with; all of it outlives it.
    struct Parts {
        std::uint32_t worker;
        std::uint32_t workers;
        io::Ring& ring;
        io::Timers& timers;
        io::Mailbox& mailbox;
        relay::Relay& relay;
        spool::Segments* segments;  // null: there is no spool; then all delivery is sync
        Submissions& submissions;
        Generations& generations;
        Lines& lines;
        KeptRefusals& refusals;
        PoolShares& shares;
        metrics::Meters& meters;
        std::uint64_t piece_octets;  // of a body that goes to the spool as it arrives
    };

    Deliveries(World& world, const Parts& parts);
    ~Deliveries();

    /// The snapshot comes into force. `pools`: by its targets, their numbers in the relay.
    void take(const Snapshot& snapshot, const std::vector<std::uint32_t>& pools);

    /// Who is to be responsible for a message to that pool, by rule, pool, listener and the general
    /// configuration, in this order.
    mail::Mode mode_of(
        const std::optional<mail::Mode>& rule,
        std::uint32_t pool,
        const config::Listener& listener) const;

    /// So many transactions of one message with the pool, at most, may wait for each other.
    std::uint32_t waiting_max(std::uint32_t pool) const { return terms_of(pool).waiting_max; }

    /// May a message be promised to be kept now? No: `queue` takes none, `hybrid` is as `sync`.
    bool keeps() const { return spool_ != nullptr && spool_->takes(); }

    // --- fresh mail, and the relay ---------------------------------------------------------------
    bool grown(mail::Submission& submission, bool memory_is_short);
    void forget_arriving(mail::Submission& submission);
    /// A sender's message is whole. It is answered by World::tell, never from inside this call.
    void submit(mail::Submission& submission);
    void held(mail::Submission& part);
    void settled(mail::Submission& submission, const mail::Outcome& outcome);
    void released(mail::Submission& submission);

    /// Its sender's staying is of no matter any more.
    bool promised(const mail::Submission& submission) const {
        return submission.attempt != nullptr || submission.grouped != nullptr;
    }

    // --- spool::World ----------------------------------------------------------------------------
    void stored(spool::Kept& kept, bool safe) override;
    void piece_written(void* whose, bool safe) override;
    void loaded(spool::Kept& kept, const base::Result<void>& result) override;
    void finished(spool::Kept& kept) override;
    void recovered(spool::Kept& kept) override;

    /// Once behind every turn, before the relay's flush: tries what is due.
    void look();

    /// And behind it: begins to write what the turn has brought.
    void flush() {
        if (spool_ != nullptr) {
            spool_->flush();
        }
    }

    /// look() has something to do at once.
    bool in_haste() const { return look_; }

    /// Nothing kept is tried any more; what is being written or tried comes to its end.
    void shut_down() { shutting_down_ = true; }

    /// What becomes of mail is not written down any more where the disk takes no writes: it is
    /// delivered once more after the next start, where it was delivered.
    void wait_for_no_disk();

    /// Of memory, for what is kept.
    std::uint64_t held_octets() const {
        return spool_ == nullptr
                   ? 0
                   : spool_->held_octets() + (beyond_ == nullptr ? 0 : beyond_->body.pinned());
    }

    /// Nothing is being written or tried.
    bool idle() const {
        return attempts_.used() == 0 && tellings_.empty() && burying_ == 0 &&
               (spool_ == nullptr || spool_->idle() || (!disk_matters_ && spool_->stuck()));
    }

    // --- ManagedQueue ----------------------------------------------------------------------------
    spool::Kept* at_or_after(const journal::Id& id) override {
        return queue_.index().at_or_after(id);
    }

    std::string_view pool_of(const spool::Kept& kept, std::uint32_t recipient) override;

    void retry(spool::Kept& kept) override;
    void hold(spool::Kept& kept, bool held) override;
    void remove(spool::Kept& kept, bool notify) override;

   private:
    /// What a recipient of a kept message comes to.
    struct Fate {
        std::uint32_t recipient = 0;
        journal::State state = journal::State::waiting;
    };

    /// One message of the spool that something is being done for; with what the relay said.
    struct Attempt : Said {
        enum class Stage : std::uint8_t {
            storing,  // a sender's message: it awaits World::stored
            trying,   // the relay has it
            loading,
            telling,  // notifications are being stored
            over
        };
        spool::Kept* kept = nullptr;
        mail::Submission* submission = nullptr;
        Stage stage = Stage::storing;
        std::uint64_t generation = 0;  // in whose rules it was looked up
        bool with_relay = false;       // which needs the submission still
        bool stays = false;            // in memory until it was tried: shares count it
        enum class Counted : std::uint8_t {
            no,
            waited,
            passed
        } counted = Counted::no;  // by queue_
        bool told = false;        // the sender knows
        bool withdrawn = false;   // it is to be told what the host said, once no copy is kept
        bool expire = false;      // what waits is given up
        bool changed = false;     // something is known that the disk does not know
        // Notifications under way, and whom they tell of as failed.
        std::uint32_t notices = 0;
        bool failure_untold = false;
        std::vector<Fate> failed;
    };

    /// A sender's message that is in the spool in part.
    struct Arriving {
        mail::Submission* submission = nullptr;
        spool::Intake* begun = nullptr;     // null: the spool has forgotten it
        mail::Body piece;                   // that is being written; empty: none
        std::uint64_t reserved_octets = 0;  // for that
        std::uint64_t on_disk_octets = 0;   // or on the way there
        bool has_dot_line = false;          // something in front of the body has
        bool whole = false;                 // its sender awaits the answer
    };

    /// A notification that is being stored.
    struct Telling {
        Attempt* attempt = nullptr;  // whose message it tells of; null: nobody waits for it
        notify::Action action{};
        std::string content;
    };

    /// What is known of a pool of the relay's beside it.
    struct Terms {
        config::Retry retry;
        std::optional<config::Defer> defer;  // its own
        std::optional<config::Mode> mode;    // its own
        std::uint32_t waiting_max = 0;       // groups that may wait for others at a time
    };

    /// What a kept message is loaded for.
    enum class Purpose : std::uint8_t {
        attempt,  // the relay gets it
        expire,   // what waits of it is given up, and its sender told
        tell      // its sender is told
    };

    /// Where a recipient leads by the rules in force.
    struct Found {
        std::optional<Queue::Way> way;
        std::string_view outgoing;  // what the smart host is told, when a rule rewrites; lives
                                    // until the next look-up
    };

    struct Due final : io::Timer {
        explicit Due(Deliveries& owner)
            : io::Timer([](io::Timer& self) { static_cast<Due&>(self).deliveries.look_ = true; }),
              deliveries(owner) {}

        Deliveries& deliveries;
    };

    /// Senders that wait for the same time.
    struct Patience {
        base::Duration deadline{};
        base::List<mail::Submission, mail::Answering> senders;
    };

    /// When a sender is to be told of a message, though nothing is tried then.
    struct OwedNotice {
        std::int64_t due_ms;
        journal::Id id;

        bool operator<(const OwedNotice& other) const { return due_ms > other.due_ms; }
    };

    /// Submission::deadline of what is kept: the bounds on a smart host's answers hold alone.
    static constexpr base::Instant nobody_waits = base::Instant::max();
    static constexpr mail::Reply not_kept{
        452, {4, 3, 1}, "the message can not be brought to stable storage now, try again later"};
    /// What could not be told is tried again after so long.
    static constexpr base::Duration untold_pause = std::chrono::minutes(1);

    // Queue::Router
    std::optional<Queue::Way> way_of(
        const spool::Kept& kept, const spool::KeptRecipient& recipient) override;

    const config::Retry& retry() const override { return current().config.retry; }

    std::int64_t longest_pause_ms() const override { return longest_pause_ms_; }

    /// Of the pool that the recipient leads to.
    config::Retry retry_for(const spool::Kept& kept, const spool::KeptRecipient& recipient);

    const Snapshot& current() const { return parts_.generations.current(); }

    std::int64_t now_ms() const;

    const Terms& terms_of(std::uint32_t pool) const { return terms_[pool]; }

    // Fresh mail.
    bool passes(const mail::Submission& submission, const mail::Outcome& outcome) const;
    void answer(mail::Submission& submission, const mail::Outcome& outcome);
    void note_answer(const mail::Submission& submission, const mail::Outcome& outcome);
    void note_told(
        const mail::Submission& submission, const mail::Outcome& outcome, const mail::Reply& told);
    void note_try(const mail::Submission& submission, const mail::Outcome& outcome);
    void wait_for_answer(mail::Submission& submission);
    void look_at_senders();
    static bool must_not_be_kept(const mail::Submission& submission);
    void tell_divided(mail::Submission& submission);
    /// look() has something to do in so much time, at the latest.
    void look_in(base::Duration wait);
    void store(mail::Submission& submission, bool with_relay, const mail::Outcome* outcome);
    void not_stored(Attempt& attempt);
    void first_try(Attempt& attempt);
    bool stays(Attempt& attempt);
    static bool has_dot_line(const mail::Body& body);
    config::Defer defer_of(std::uint32_t pool, const mail::Submission& submission) const;
    void discard(mail::Submission& submission);

    // While it arrives (arriving_mail.cc).
    bool has_piece(const mail::Submission& submission) const;
    void write_piece(Arriving& arriving);
    void let_piece_go(Arriving& arriving);
    void store_rest(Arriving& arriving);
    void end_arriving(Arriving& arriving);

    // The same, in several transactions (grouped_mail.cc).
    bool submit_groups(mail::Submission& whole);
    bool make_groups(Grouped& message);
    void forget_groups(mail::Submission& whole);
    void group_settled(mail::Submission& part, const mail::Outcome& outcome);
    void group_released(Grouped& message);
    void look_at(Grouped& message);
    void look_at_groups();
    void advance(Grouped& message);
    void decide(Grouped& message);
    void let_go(Grouped& message);
    void end_waiting(Grouped& message);
    void call_off(const Grouped& message);
    void ask(Grouped& message);
    void ask_next();
    void leave_line(Grouped& message, bool kept);
    bool begin_waiting(Grouped& message);
    void stop_waiting(Grouped& message);
    void turn_away(mail::Submission& whole, const mail::Reply& reply, bool kept);
    void tell_turned_away();
    void groups_kept(Attempt& attempt);
    void groups_not_kept(Grouped& message);
    void write_delivered(Attempt& attempt, const Group& group);
    void finish(Grouped& message);
    void keep_refusals(const mail::Submission& submission);
    void keep_refusals(Grouped& message);
    void tell_of_groups(Grouped& message, const mail::Reply& reply);
    void note_groups(const Grouped& message, const mail::Reply& reply);
    void log_groups(const Grouped& message, std::string_view listener, const mail::Reply* reply);
    void log_group(const Group& group, std::string_view listener, const mail::Reply* reply);
    /// `before_bodies`: no host was given one.
    void settle_groups(Grouped& message, bool before_bodies);
    bool is_kept(const Sum& sum, const mail::Submission& whole) const;

    // Kept mail.
    void try_what_is_due();
    bool begin(spool::Kept& kept, std::uint32_t pool, Purpose purpose);
    bool reserve(mail::Submission& submission, std::uint64_t octets);
    bool fill_envelope(mail::Submission& submission, spool::Kept& kept, bool tries);
    bool add_recipient(
        mail::Submission& submission,
        const spool::KeptRecipient& kept,
        std::uint32_t number,
        const AddressKey& key,
        std::string_view told);
    Found look_up(const AddressKey& address, bool notification);

    Queue::Way way_to(std::uint32_t pool) const { return {pool, terms_of(pool).retry}; }

    static const Said& said_of(const Attempt& attempt, std::uint32_t recipient);
    const config::Retry& retry_of(const Said& said) const;
    void process(Attempt& attempt);
    bool goes_in_parts(const Said& said, const mail::Envelope& envelope) const;
    journal::State apply(
        const Attempt& attempt,
        const Said& said,
        const mail::Envelope& envelope,
        const mail::Recipient& recipient);
    void note_reply(
        spool::KeptRecipient& recipient, const mail::Reply& reply, std::string_view host = {});
    journal::State refuse(
        const Attempt& attempt,
        const Said& said,
        spool::KeptRecipient& recipient,
        const mail::Reply& reply,
        std::string_view host = {});
    void conclude(Attempt& attempt);
    void tell_withdrawn(Attempt& attempt);
    void free_if_over(Attempt& attempt);
    void watch_delay(spool::Kept& kept, const config::Retry& retry);
    void owe_notice(const spool::Kept& kept, std::int64_t due_ms);
    void tell_what_is_owed();

    // Notifications (notices.cc).
    void tell_sender(Attempt& attempt, const std::vector<Fate>& told, notify::Action action);
    void tell_relayed(const mail::Submission& submission, const mail::Outcome& outcome);
    void keep_notification(
        Attempt* attempt,
        const mail::Submission& submission,
        notify::Action action,
        std::span<const notify::RecipientReport> reports,
        base::WallTime arrived,
        std::uint64_t content_size);
    void keep_notification(
        Attempt* attempt,
        notify::Action action,
        std::string_view id,
        std::string_view to,
        notify::Notification notification,
        std::string_view why);
    void bury_notification(Attempt& attempt);
    void bury(Attempt* attempt, notify::Action action, std::string_view id, std::string content);
    void told(Attempt* attempt, notify::Action action, bool safe);

    World& world_;
    const Parts parts_;
    std::unique_ptr<spool::Spool> spool_;
    Queue queue_;
    base::ObjectPool<Attempt> attempts_;
    base::ObjectPool<Grouped> grouped_;
    base::ObjectPool<Arriving> arriving_;
    std::vector<Grouped*> looked_at_;     // something has happened to a group
    std::vector<std::uint32_t> waiting_;  // groups that wait for others, by pool
    std::vector<Grouped*> line_;          // those for which there is no room among these
    bool room_in_line_ = false;           // perhaps
    std::vector<std::pair<mail::Submission*, mail::Reply>> turned_away_;  // to be told so
    std::unordered_map<spool::Kept*, Telling> tellings_;
    std::vector<Terms> terms_;  // by number in the relay
    std::int64_t longest_pause_ms_ = 0;
    std::uint32_t notify_pool_ = route::none;
    std::vector<std::unique_ptr<Patience>> patience_;
    std::vector<Attempt*> withdrawn_;  // whose copies are being ended
    std::vector<OwedNotice> owed_;     // a heap
    Due due_{*this};
    bool look_ = false;  // something may be due
    bool shutting_down_ = false;
    bool disk_matters_ = true;
    const mail::Submission* beyond_ = nullptr;  // loaded past the bound on memory
    unsigned burying_ = 0;                      // dead letters that are being written
    std::uint32_t unsaved_ = 0;  // notifications not on the disk yet for which no attempt waits
    route::DecisionText text_{};
};

}  // namespace postern::shard
