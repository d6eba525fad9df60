#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "postern/base/arena.h"
#include "postern/base/list.h"
#include "postern/base/time.h"
#include "postern/mail/body.h"
#include "postern/mail/envelope.h"
#include "postern/mail/mode.h"
#include "postern/mail/reply.h"

namespace postern::mail {

/// Of a client of which nobody knows the address.
constexpr std::string_view unknown_address = "unknown";

/// Where a message came from before it came to our client, by what that said (XFORWARD). Empty: it
/// did not say, or does not know. Text lives as long as the Client's.
struct Forwarded {
    std::string_view name;
    std::string_view address;  // without "IPV6:"
    std::string_view port;
    std::string_view protocol;
    std::string_view helo;
    std::string_view source;  // LOCAL or REMOTE
    std::string_view ident;   // its id there
};

/// Who a message came from, for Received:, log and permission. Text lives in the submission's arena
/// or the connection.
struct Client {
    std::string_view address;  // "192.0.2.1", "2001:db8::1" or unknown_address
    std::string_view helo;     // as given; empty before HELO
    std::uint16_t port = 0;    // of its end; 0: not known
    std::string_view login;    // the name that it said AUTH with; empty: it has not
    std::string_view name;     // of its host, as XCLIENT said; empty: unknown
    const Forwarded* forwarded = nullptr;
    std::uint64_t key = 0;  // the client (IPv4 address, IPv6 /64), hashed with the process's key
    std::uint64_t network =
        0;  // the client's network (IPv4 /24, IPv6 /64), hashed with the process's key
    std::uint64_t generation = 0;  // whose [relay] and limits decided what follows
    std::uint32_t listener = 0;    // its number; it keeps it over generations
    bool trusted = false;          // [relay] allows it, or its listener is trusted
    bool exempt = false;           // no limit by client or network holds for it
    bool counted = false;          // among its network's connections
    bool esmtp = false;            // EHLO, not HELO
    bool proxy = false;   // the connection of a proxy, which has not said yet who its client is
    bool stated = false;  // the address is what a proxy or XCLIENT says, not the connection's own
    bool may_xclient = false;  // for the length of its connection
    bool may_xforward = false;
    // Text that lives for ever ("TLSv1.3"); null: in plain text.
    const char* tls_version = nullptr;
    const char* tls_cipher = nullptr;
};

/// Where a smart host accepts some recipients and refuses others: do those accepted have the
/// message then, each recipient with its `answer`, or has nobody?
enum class Divide : std::uint8_t {
    never,
    when_temporary,  // those accepted have it where every refusal is a 4xx
    always
};

/// Tag of the lists of those that wait for the answer about a recipient.
struct Asking;

/// Tag of the lists of those whose sender waits for a final answer that may come from the spool.
struct Answering;

/// One message and where it is on its way. Made at MAIL, filled by `inbound`, delivered by `relay`,
/// owned by `shard`, which frees it when neither holds it. One worker's thread. Its memory (arena,
/// body) goes with it.
struct Submission : base::ListLink<Asking>, base::ListLink<Answering> {
    Submission(base::BlockPool& arena_pool, base::BlockPool& tail_pool, base::BlockPool& chain_pool)
        : arena(arena_pool), body(tail_pool, chain_pool) {}

    base::Arena arena;
    Envelope envelope;
    Body body;                     // our Received: line first
    bool has_eight_bit = false;    // the content holds an octet over 127
    bool has_utf8_header = false;  // a header line does

    std::array<char, 32> id_text{};  // unique over restarts and hosts
    std::uint8_t id_size = 0;

    std::string_view id() const { return {id_text.data(), id_size}; }

    Client client;
    base::Instant began;           // MAIL accepted
    base::Instant body_began;      // the command before the body accepted
    base::Instant completed;       // last octet of the body received
    base::Instant handed_over;     // given to a smart host's connection, the last time
    base::Instant deadline;        // when the sender must have its answer (sync_limit); may be
                                   // put off while it is on its way
    std::uint64_t generation = 0;  // of the rules that its recipients were looked up in
    bool takes_recipients = true;  // more may be named: its generation must stay
    std::uint32_t pool = 0;        // of the group that takes it: index in this worker's relay
    bool holds_pool = false;       // which stays there until it is done with

    // The recipient that has been named and is neither accepted nor refused yet: inbound's.
    struct Asked {
        Recipient* recipient = nullptr;
        base::Arena::Mark mark{};    // before it
        std::string_view parameter;  // of its RCPT, for the log
    } asked;

    Mode mode = Mode::sync;  // decided at RCPT, by the first recipient
    Divide divide = Divide::never;

    bool spool_first = false;  // a pool that has its share, or more than can wait for each other:
                               // nobody's answer is waited for before it is on stable storage
    bool in_groups = false;    // it goes in several transactions, each with some of its recipients
    bool waits = false;        // one of those: the body goes when Relay::go_on says so

    bool kept_refusal = false;  // shard's: a recipient of it had an answer that was kept
    bool answered = false;      // shard's: its sender has an answer, and nobody is to have it

    bool pauses = false;  // no more of its body is received, until Inbound::go_on says so

    bool is_question = false;  // no message: asks a smart host about its one recipient, by RCPT

    std::uint64_t octets_before = 0;  // of its content, in front of what `body` holds: in the spool

    std::uint64_t content_size() const { return octets_before + body.size(); }

    std::uint64_t reserved_octets = 0;  // of the bound on memory for bodies, taken for this one

    void* inbound_owner =
        nullptr;  // the connection that awaits the answer; null once the sender has it or is gone
    void* relay_owner = nullptr;  // the transfer under way; null before and after
    void* arriving = nullptr;     // shard's: what of it is in the spool while it arrives
    void* attempt = nullptr;      // shard's: what it does for a message of the spool; null: nothing
    void* grouped = nullptr;      // shard's: the message in several transactions that this is, or
                                  // is one of; null: it goes in one
};

/// How an attempt to hand a submission over ended. Views live for the call in which it is given.
///
/// A host that accepted, refused or divided the message, or that was given the last octet of it
/// (unknown), has left in each Recipient its answer to that RCPT, where it gave one; nothing of an
/// earlier attempt is left there. For the other kinds it says nothing.
struct Outcome {
    enum class Kind : std::uint8_t {
        accepted,  // a smart host said 2xx to the body: `reply` is that; of one that may divide, a
                   // Recipient whose `answer` is a refusal does not have it
        refused,  // the message was refused, by a smart host or for what the host lacks: `reply` is
                  // for the sender; it is the answer about each Recipient that has no refusal of
                  // its own
        divided,  // some recipients accepted, some refused, the body not sent: each Recipient has
                  // its `answer`
        unreachable,  // no host took it: 451 4.4.1
        unresolved,   // the pool's name has no address: 451 4.4.3
        busy,         // no free place within timeouts.busy: 451 4.4.5
        too_many,     // a host was found to take fewer recipients at a time: 452 4.5.3
        untrusted,    // TLS required and not to be had: 451 4.7.4
        unknown,      // the last octet was given to the kernel and no answer came: 451 4.4.2
        dropped,      // the sender had gone before the write that completes the message
    };
    Kind kind = Kind::unreachable;
    Reply reply;  // set for accepted and refused
    std::string_view
        host;  // the smart host's address and port, for the log; empty if none was reached
    std::string_view host_said;  // its last answer as it came, for the log
    bool host_has_dsn = false;   // the host that accepted it tells the sender what becomes of it
    bool provoked = false;       // where none took it: a host's trouble may be this message's doing
};

}  // namespace postern::mail
