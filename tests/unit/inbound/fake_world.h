#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "postern/inbound/inbound.h"
#include "tests/unit/io/loopback.h"
#include "tests/unit/smtp/script.h"

namespace postern::inbound::test {

/// A world for the corridor: takes messages, keeps what they were, answers at once or when told.
class FakeWorld final : public World {
   public:
    FakeWorld();
    ~FakeWorld();

    bool hand_over(const std::shared_ptr<const Terms>& terms, int descriptor) override;
    mail::Reply arrived(mail::Client& client, const io::Address& address) override;
    void left(const mail::Client& client) override;
    void handshake(const mail::Client& client, Handshake outcome) override;
    mail::Reply moved(mail::Client& client, const io::Address* address) override;
    void noticed(const mail::Client& client, Notice notice) override;
    mail::Submission* begin(
        const mail::Client& client, std::uint64_t size_declared, mail::Reply& refusal) override;
    std::optional<mail::Reply> recipient(
        mail::Submission& submission, mail::Recipient& recipient) override;
    bool reserve(mail::Submission& submission, std::uint64_t octets, bool first) override;
    bool received(const mail::Submission& submission, std::uint64_t octets) override;
    void submit(mail::Submission& submission) override;
    void abandon(mail::Submission& submission) override;
    PasswordCheck* check_password(
        const mail::Client& client,
        const smtp::Credentials& credentials,
        mail::Reply& refusal) override;
    void forget(PasswordCheck& check) override;
    void told_login(const mail::Client& client, const mail::Reply& reply) override;
    void refused(
        const mail::Client& client,
        const mail::Submission* submission,
        std::string_view what,
        std::string_view address,
        const mail::Reply& reply) override;

    /// Answers what waits; from the loop, as the relay does.
    void answer_waiting(Inbound& inbound);

    mail::Reply greeting_refusal;  // code 0: all may come
    std::vector<std::string> rules = smtp::test::default_rules();
    bool answers_recipients = true;  // at once; else they wait in `asking`
    std::vector<mail::Submission*> asking;
    mail::Reply final_answer{250, {2, 0, 0}, "queued"};
    bool answers = true;
    bool hands_over = false;  // to `handed_over`
    std::vector<std::pair<std::shared_ptr<const Terms>, int>> handed_over;
    std::uint64_t body_octets_max = UINT64_MAX;
    std::uint64_t received_max = UINT64_MAX;  // octets of all bodies
    mail::Reply begin_refusal;                // code 0: MAIL is taken

    std::vector<Handshake> handshakes;
    std::vector<bool> gone;                     // before each answer: had its sender?
    std::map<std::string, std::string> logins;  // names and passwords
    mail::Reply password_refusal;               // code 0: passwords are checked
    std::vector<std::string> told_logins;       // "name|code"

    bool proxy = false;  // whoever connects is one
    bool exempt = true;  // and exempt
    bool may_introduce = false;
    mail::Reply move_refusal;
    std::vector<std::string> moves;  // "address"
    std::vector<Notice> notices;
    std::string client_address = "127.0.0.1";  // of the one client there is
    std::vector<std::string> begun_as;         // of each message: the login
    std::vector<std::string>
        introductions;  // of each message: "name", "name|forwarded name|address|ident"
    int clients = 0;
    int abandoned = 0;
    std::uint64_t reserved_most = 0;
    std::uint64_t received_octets = 0;
    std::uint64_t size_declared = 0;  // by the last MAIL
    std::vector<mail::Submission*> waiting;
    std::vector<smtp::test::Message> messages;
    std::vector<std::string> received_lines;
    std::vector<std::string> refusals;  // "verb|address|code"

    base::BlockPool arena_pool{4096, 4096};
    base::BlockPool tail_pool{16384, 4096};
    base::BlockPool chain_pool{4096, 4096};

   private:
    void free(mail::Submission& submission);

    std::vector<std::unique_ptr<mail::Submission>> submissions_;
    int last_id_ = 0;

    struct Check : PasswordCheck {
        bool good = false;
    };

    std::vector<std::unique_ptr<Check>> checks_;
};

/// A corridor on a real ring with one listener on loopback.
class Gateway {
   public:
    /// `socket_buffer`: octets, for the sockets it accepts; 0: the system's.
    explicit Gateway(const ListenerSettings& settings = usual(), int socket_buffer = 0);
    ~Gateway();

    static ListenerSettings usual();

    /// Runs the loop until `done()`; false after a minute.
    template <class Done>
    bool turn_until(Done done) {
        const base::Instant end = ring->now() + std::chrono::seconds(60);
        while (!done()) {
            if (ring->now() > end) {
                return false;
            }
            turn();
        }
        return true;
    }

    void turn();

    std::unique_ptr<io::Ring> ring = io::test::make_ring();
    io::Timers timers{ring->now()};
    FakeWorld world;
    std::unique_ptr<Inbound> inbound;
    io::test::Loopback loopback;
};

/// A sender: a plain socket whose answers are read while the gateway turns.
class Sender {
   public:
    explicit Sender(Gateway& gateway, int receive_buffer = 0)
        : gateway_(gateway), socket_(gateway.loopback.dial(receive_buffer)) {}

    ~Sender();
    Sender(const Sender&) = delete;

    void send(std::string_view bytes);
    /// The next whole reply; what came of it, if it does not come in time.
    std::string reply();
    /// Sends a line and returns the reply.
    std::string ask(std::string_view line);
    bool closed_by_peer();
    void end_sending();
    void reset();
    void hang_up();

    int descriptor() const { return socket_; }

   private:
    bool read();
    Gateway& gateway_;
    int socket_;
    bool ended_ = false;
    std::string input_;
};

constexpr std::string_view one_envelope =
    "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n";

/// Up to the 250 of RCPT.
void begin_transaction(Sender& sender);

}  // namespace postern::inbound::test
