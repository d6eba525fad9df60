#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/time.h"
#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/mail/submission.h"
#include "postern/metrics/meters.h"
#include "postern/shared/hosts.h"
#include "postern/tls/context.h"

/// The corridor that mail leaves by: pools of smart hosts, their warm connections, a
/// smtp::ClientSession for each. It is handed whole messages and says what became of them. It knows
/// nothing of senders or rules. One worker's thread.
namespace postern::relay {

/// A host as its pool's definition gives it: an address, or a name that somebody else resolves.
struct HostSettings {
    io::Address address{};    // where there is no name
    std::string name{};       // "mx1.internal"; empty: the address is meant
    std::uint16_t port = 25;  // beside a name
    bool mx = false;          // what the name's MX records give is meant, not its own addresses
    std::uint32_t level = 0;  // 0: one of `hosts`; 1, 2, ...: the backups, in order
    bool operator==(const HostSettings&) const = default;
};

/// TLS towards the hosts of a pool (product.md, section 2).
enum class Tls : std::uint8_t { none, opportunistic, required, verify };

/// What one transaction can take; 0: no bound is known.
struct TransactionMax {
    std::uint32_t recipients = 0;
    std::uint32_t domains = 0;  // of them
};

/// A pool's definition, as this corridor needs it; all of it is the pool's identity. Plain values;
/// `Relay` copies them.
struct PoolSettings {
    std::string name;
    bool by_rule = false;  // made of a host that a rule names
    std::vector<HostSettings> hosts;
    std::string helo;
    std::uint32_t connections_max = 32;  // to each host, over all workers
    std::uint32_t pipeline_max = 64;
    std::uint32_t recipients_max = 100;
    bool send_8bit = false;
    std::vector<std::string> ehlo_ignore;  // upper case
    Tls tls = Tls::none;
    std::string tls_name;         // that a host's certificate must hold; empty: the host's own
    std::uint64_t tls_files = 0;  // hash of all that the files hold that its context is made from
    std::string auth_user;        // empty: no AUTH
    std::string auth_password;
    bool xforward = false;
    std::vector<io::Address> source;
    base::Duration max_age{};
    base::Duration idle{};
    bool operator==(const PoolSettings&) const = default;
};

/// All of it as octets, its identity: pools that differ in anything share no connections, and know
/// nothing of what the other has seen of a host (the key of shared::HostTable).
std::string definition_of(const PoolSettings& pool);

/// An address that a pool's mail may go to now.
struct HostAddress {
    io::Address address{};
    std::string name{};  // that it was found by; empty: none
    /// Hosts of a level are used when none of the levels below is healthy: backups and worse MX
    /// preferences. Any numbers.
    std::uint32_t level = 0;
};

/// Why a pool has no hosts.
enum class Absence : std::uint8_t {
    pending,     // its names are being asked for: its mail waits as for a busy host, then 451 4.4.3
    unresolved,  // they have no address, or nobody says: 451 4.4.3
    null_mx,     // the domain takes no mail (RFC 7505): 556 5.1.10
    own_mx,      // we ourselves are the best MX: 554 5.4.6
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
    /// The corridor `holds` it from now on.
    virtual void held(mail::Submission& submission) = 0;
    /// A host's trouble, for the log: what was attempted and why it failed.
    virtual void trouble(std::string_view pool, std::string_view host, std::string_view what) = 0;

   protected:
    ~World() = default;
};

class Relay {
   public:
    static constexpr base::Duration slow_after = std::chrono::seconds(2);

    /// `hosts` is what all workers know of them. Both outlive it.
    Relay(
        io::Ring& ring,
        io::Timers& timers,
        World& world,
        shared::HostTable& hosts,
        metrics::Meters& meters,
        const Timeouts& timeouts);
    ~Relay();

    // --- pools and their hosts; at any time between two turns ------------------------------------
    /// Returns the pool's number, one that is free: 0, 1, 2, ... while none was retired. It has the
    /// hosts that the definition gives by address; what it gives by name is `pending`. Connections
    /// are opened when mail wants them.
    /// `tls`: what its connections' TLS is made from; unless it is `none`. Its library outlives the
    /// relay.
    std::uint32_t add_pool(
        const PoolSettings& settings, std::shared_ptr<const tls::ClientContext> tls = nullptr);
    /// Its hosts are from now on these. One that was there before goes on, known by its address;
    /// one that is not named any more takes no new message, finishes, quits, and is freed with its
    /// last connection. `absence`: what is told where there are none.
    void set_hosts(
        std::uint32_t pool,
        std::span<const HostAddress> hosts,
        Absence absence = Absence::unresolved);
    /// No new message is going to be chosen for it. It finishes, its idle connections quit, and it
    /// is freed, and its number with it, with the last message, connection and hold. REQUIRES: not
    /// retired before.
    void retire_pool(std::uint32_t pool);
    /// A transaction has chosen the pool and may still submit to it, retired or not.
    void hold(std::uint32_t pool);
    void let_go(std::uint32_t pool);
    /// How many have.
    std::uint32_t held(std::uint32_t pool) const;
    /// A message of it has been here for longer than slow_after, whatever it waits for.
    bool slow(std::uint32_t pool) const;
    /// So many messages, submitted now, would not come back at once for want of a host. 0: all
    /// hosts are set aside, or the name has no address. 1 while it is not known better: a host is
    /// being probed, or the name looked up. Behind a trouble it grows as the hosts prove to be
    /// well.
    std::uint32_t room(std::uint32_t pool) const;
    /// For what begins to be waited for from now on.
    void set_timeouts(const Timeouts& timeouts);

    // --- mail ------------------------------------------------------------------------------------
    /// Delivers `submission` to its pool, all of its recipients or none (`divided`). Ends in
    /// settled and released, never from inside this call, at the latest at its deadline. REQUIRES:
    /// the pool is not retired, or held. A question (mail::Submission::is_question) is a
    /// transaction of the null sender's MAIL, one RCPT and no body; settled as accepted, or as
    /// refused with the answer to that RCPT.
    void submit(mail::Submission& submission);
    /// Gives back what waits for a connection: it is released, from inside this call, and never
    /// settled. False: it has one, and nothing changes. REQUIRES: not settled.
    bool take_back(mail::Submission& submission);
    /// Of one that waits (mail::Submission::waits): each of its recipients has a host's `answer`,
    /// some of them a yes, and the host awaits the body. It may be lost again, and held anew, as
    /// long as it is not told to go on; its connection has nothing else to do.
    bool holds(const mail::Submission& submission) const;
    /// From now on it waits no more. REQUIRES: not settled.
    void go_on(mail::Submission& submission);
    /// No body: RSET, and it is settled as divided, from inside this call. REQUIRES: holds.
    void call_off(mail::Submission& submission);
    /// Once behind every turn of the ring and run of the timers: hands out what was submitted, and
    /// starts for each connection the one send that holds all that the turn produced for it.
    /// Nothing moves without it.
    void flush();
    /// What one transaction to this pool can take: its recipients_max, or less by what a host of it
    /// announced (LIMITS, RFC 9422).
    TransactionMax transaction_max(std::uint32_t pool) const;
    /// All of its hosts that anything is known of have no SMTPUTF8; false while nothing is.
    bool lacks_smtputf8(std::uint32_t pool) const;

    // --- the end ---------------------------------------------------------------------------------
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
