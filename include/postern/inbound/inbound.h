#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postern/base/time.h"
#include "postern/io/ring.h"
#include "postern/io/timer.h"
#include "postern/mail/submission.h"
#include "postern/smtp/auth_exchange.h"
#include "postern/tls/context.h"

/// The corridor that senders come in by: accepts, drives a smtp::ServerSession for each connection,
/// collects bodies, and gives each message away whole. It knows nothing of rules, pools or smart
/// hosts: it asks its World. One worker's thread.
namespace postern::inbound {

/// When senders speak TLS: never, when they ask for it, or from the first octet.
enum class Tls : std::uint8_t { none, starttls, implicit };

/// What a handshake came to.
enum class Handshake : std::uint8_t { full, resumed, failed };

/// A listener's settings, as this corridor needs them. Plain values; `Inbound` copies them.
struct ListenerSettings {
    std::string name;      // its address as configured: the label in logs and metrics
    std::string hostname;  // in the greeting and in Received:
    bool reject_bare_newline = false;
    std::vector<std::string> ehlo_hide;  // upper case
    std::uint64_t message_size_max = 0;  // octets
    std::uint32_t recipients_max = 0;
    std::uint32_t errors_max = 0;  // bad commands in one session
    std::uint32_t received_max = 0;
    bool has_passwords = false;       // AUTH is there, under TLS
    bool octets_counted = false;      // World::received wants to know
    bool xclient = false;             // there are clients who may say it
    bool xforward = false;            // the same
    base::Duration greeting_pause{};  // the greeting is held back so long; 0: it is not
    base::Duration command_timeout{};
    base::Duration data_timeout{};
    Tls tls = Tls::none;
    std::shared_ptr<const tls::ServerContext> tls_context;  // unless none
    bool operator==(const ListenerSettings&) const = default;
};

/// What a listener's connections have in common (src/inbound/corridor.h).
struct Terms;

/// A check of a name and a password that is under way: the world's.
struct PasswordCheck {
    void* inbound_owner = nullptr;  // the connection that awaits the answer; null: it is gone
};

/// What the corridor asks of the rest of the worker. Implemented by `shard`; views in arguments
/// live for the call.
class World {
   public:
    /// A connection was accepted. True: another worker has it now, descriptor and all, and takes it
    /// over by these terms.
    virtual bool hand_over(const std::shared_ptr<const Terms>& terms, int descriptor) = 0;
    /// May this client connect? code 0: yes; else the answer that it is closed with (421).
    /// What the client may is set by the call (mail::Client). Every admitted client is given back
    /// with `left`.
    virtual mail::Reply arrived(mail::Client& client, const io::Address& address) = 0;
    /// The client that was admitted is another one: a proxy (mail::Client::proxy) or XCLIENT says
    /// so. What it may is set anew, and it counts where it now belongs. `address`: null: nobody
    /// knows whose; then it may nothing more than anybody. Else as `arrived`; what was refused
    /// stays counted as it was.
    virtual mail::Reply moved(mail::Client& client, const io::Address* address) = 0;
    /// Something that is counted, and is no answer.
    enum class Notice : std::uint8_t { health_check, bad_proxy_header, early_talker, hostile_end };
    virtual void noticed(const mail::Client& client, Notice notice) = 0;
    virtual void left(const mail::Client& client) = 0;
    /// A handshake has ended; `client` says what was agreed on.
    virtual void handshake(const mail::Client& client, Handshake outcome) = 0;

    /// A new submission, with id, client (its texts in the arena), generation and time set;
    /// nullptr: `refusal` says why there is none. `size_declared`: by MAIL; 0: not.
    virtual mail::Submission* begin(
        const mail::Client& client, std::uint64_t size_declared, mail::Reply& refusal) = 0;
    /// Takes the recipient (code 0, and `domain_key`, `pool`, `rule`, `outgoing` set) or says the
    /// answer. Its address, local part and domain are set. What is allocated in the submission's
    /// arena meanwhile is taken back if it is refused. nullopt: the answer comes by
    /// Inbound::answer_recipient, never from inside this call; until then nothing more of this
    /// sender is looked at, and it may be abandoned.
    virtual std::optional<mail::Reply> recipient(
        mail::Submission& submission, mail::Recipient& recipient) = 0;
    /// Before a body's memory is filled: from now on it may pin `octets`, in total, and
    /// `reserved_octets` says so. It only grows, but where what the body holds is taken out of it
    /// meanwhile, to be kept elsewhere. False: 452 4.3.1. `first`: the body begins with it.
    virtual bool reserve(mail::Submission& submission, std::uint64_t octets, bool first) = 0;
    /// So many octets of its body have come, of a client that is not exempt, where
    /// ListenerSettings::octets_counted. False: too many (450 4.7.1).
    virtual bool received(const mail::Submission& submission, std::uint64_t octets) = 0;
    /// The message is whole. The answer comes by Inbound::answer, never from inside this call.
    virtual void submit(mail::Submission& submission) = 0;
    /// The transaction ended without a message (RSET, a new EHLO, a cut, a refused body): the
    /// submission is given back.
    virtual void abandon(mail::Submission& submission) = 0;

    /// Is it that name's password? The answer comes by Inbound::authenticated, never from inside
    /// this call. nullptr: `refusal` is it. The credentials live for the call.
    virtual PasswordCheck* check_password(
        const mail::Client& client, const smtp::Credentials& credentials, mail::Reply& refusal) = 0;
    /// Nobody awaits its answer any more; the check is given back.
    virtual void forget(PasswordCheck& check) = 0;
    /// An AUTH was answered: `reply`. `client.login` is the name that was said.
    virtual void told_login(const mail::Client& client, const mail::Reply& reply) = 0;

    /// Something was refused: for the log. `what`: the verb, or empty for the connection itself.
    /// `address`: the MAIL or RCPT parameter, or empty.
    virtual void refused(
        const mail::Client& client,
        const mail::Submission* submission,
        std::string_view what,
        std::string_view address,
        const mail::Reply& reply) = 0;

   protected:
    ~World() = default;
};

class Inbound {
   public:
    Inbound(io::Ring& ring, io::Timers& timers, World& world);
    ~Inbound();

    /// Begins to accept; the descriptor (io::open_listener) is taken over. `number`: the caller's,
    /// not one of a listener that is open; connections know their listener by it.
    void add_listener(std::uint32_t number, int descriptor, const ListenerSettings& settings);
    /// For connections to come; a session keeps to what it was greeted with.
    void change_listener(std::uint32_t number, const ListenerSettings& settings);
    /// Accepts what has been connected, then closes the socket; connections go on.
    void remove_listener(std::uint32_t number);

    /// Goes on with a connection that another worker's corridor has accepted, whether or not the
    /// listener is still there.
    void take_over(const std::shared_ptr<const Terms>& terms, int descriptor);

    /// The sender's final answer to a submission. Its connection goes on; the submission is no
    /// longer inbound's. Does nothing where the sender has gone (inbound_owner is null).
    void answer(mail::Submission& submission, const mail::Reply& reply);
    /// The answer about the recipient that the submission waits for; as World::recipient gives it.
    /// REQUIRES: it was not abandoned.
    void answer_recipient(mail::Submission& submission, const mail::Reply& reply);
    /// Its body is received again: `pauses`, which the world may set from inside World::reserve, is
    /// not set any more. Does nothing where the sender has gone.
    void go_on(mail::Submission& submission);
    /// The answer to AUTH; a 2xx: the client is authenticated. The check is no longer inbound's.
    /// Does nothing where the sender has gone.
    void authenticated(PasswordCheck& check, const mail::Reply& reply);
    /// Looked at once before the write that completes a message (product.md, section 5): has its
    /// sender gone?
    bool sender_gone(mail::Submission& submission);

    /// Something is nearly used up: from now on, or no longer, a sender's next command and the next
    /// piece of a body are waited for pressed_wait at most. To be said again each second: those
    /// that are being waited for are told little by little.
    void set_pressed(bool pressed);
    static constexpr base::Duration pressed_wait = std::chrono::seconds(10);
    /// Of the blocks for partial command lines, or for answers, less than an eighth is left.
    bool short_of_buffers() const;

    /// Graceful end: stops accepting, closes idle sessions with 421 4.3.2, lets each message that
    /// is owed an answer have it.
    void shut_down();
    /// What is left is closed at once, with 421 4.3.2, but for those that are owed an answer: they
    /// have it first.
    void cut();
    std::uint32_t connections() const;
    /// After shut_down or cut: nothing is open any more. REQUIRED before it is destroyed, unless it
    /// never had a listener.
    bool closed() const;

    /// Octets of memory held now: for connections, and for partial command lines and answers.
    std::uint64_t held_connection_octets() const;
    std::uint64_t held_buffer_octets() const;
    /// For TLS: sessions, by what one usually holds, and answers that are sealed.
    std::uint64_t held_tls_octets() const;

    /// Octets of memory an idle connection holds, all of it: what the memory sum counts.
    static std::size_t connection_octets();
    /// What partial command lines and answers that are not sent yet may hold beside that, of all
    /// connections together, at most.
    static std::uint64_t buffer_octets_max();
    /// What a TLS session holds of memory while it is idle: OpenSSL's part, and ours.
    static constexpr std::uint64_t tls_session_octets = 16384;
    /// What sealed answers that are not sent yet may hold beside that, at most.
    static std::uint64_t sealed_octets_max();

   private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace postern::inbound
