#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/time.h"
#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/mail/submission.h"

/// The corridor that mail leaves by: pools of smart hosts, their warm connections, a
/// smtp::ClientSession for each. It is handed whole messages and says what became of them. It knows
/// nothing of senders or rules. One worker's thread.
namespace postern::relay {

/// A pool's definition, as this corridor needs it. Plain values; `Relay` copies them.
struct PoolSettings {
    std::string name;
    std::vector<io::Address> hosts;  // one, until pools of many hosts exist
    std::string helo;
    std::uint32_t connections_max = 32;  // this worker's part
    std::uint32_t pipeline_max = 64;
    std::uint32_t recipients_max = 100;
    bool send_8bit = false;
    std::vector<std::string> ehlo_ignore;  // upper case
    std::vector<io::Address> source;
    base::Duration max_age{};
    base::Duration idle{};
    bool operator==(const PoolSettings&) const = default;  // a pool's identity: all of it
};

struct Timeouts {
    base::Duration connect{};
    base::Duration reply{};
    base::Duration busy{};
    base::Duration data_done{};
};

/// What the corridor asks of the rest of the worker. Implemented by `shard`; views in arguments
/// live for the call.
class World {
   public:
    /// Once for each submission. The bytes may still be needed: see `released`.
    virtual void settled(mail::Submission& submission, const mail::Outcome& outcome) = 0;
    /// The corridor holds nothing of the submission any more. After `settled`; often right after
    /// it.
    virtual void released(mail::Submission& submission) = 0;
    virtual bool sender_gone(mail::Submission& submission) = 0;
    /// A host's trouble, for the log: what was attempted and why it failed.
    virtual void trouble(std::string_view pool, std::string_view host, std::string_view what) = 0;

   protected:
    ~World() = default;
};

class Relay {
   public:
    Relay(io::Ring& ring, io::Timers& timers, World& world, const Timeouts& timeouts);
    ~Relay();

    /// Returns the pool's number. Connections are opened when mail wants them.
    std::uint32_t add_pool(const PoolSettings& settings);
    /// No new message is going to be chosen for it. It finishes, its idle connections quit, and it
    /// is freed, and its number with it, with the last message, connection and hold. REQUIRES: not
    /// retired before.
    void retire_pool(std::uint32_t pool);
    /// A transaction has chosen the pool and may still submit to it, retired or not.
    void hold(std::uint32_t pool);
    void let_go(std::uint32_t pool);
    /// For what begins to be waited for from now on.
    void set_timeouts(const Timeouts& timeouts);
    /// Delivers `submission` to its pool, all of its recipients or none (`divided`). Ends in
    /// settled and released, never from inside this call, at the latest at its deadline.
    void submit(mail::Submission& submission);
    /// Once behind every turn of the ring and run of the timers: hands out what was submitted, and
    /// starts for each connection the one send that holds all that the turn produced for it.
    /// Nothing moves without it.
    void flush();
    /// The most recipients one transaction to this pool can take: its recipients_max, or less by
    /// what its host announced.
    std::uint32_t recipients_max(std::uint32_t pool) const;
    /// Its host is known to have no SMTPUTF8; false also before anything is known.
    bool lacks_smtputf8(std::uint32_t pool) const;

    /// Graceful end: connections that have nothing to do quit.
    void shut_down();
    /// Settles what was not handed over yet, as unreachable; what is owed an answer goes on.
    void give_up_unsent();
    /// What is left is closed at once; every submission is settled.
    void cut();
    /// Nothing is open any more.
    bool idle() const;

   private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace postern::relay
