#include "tests/unit/inbound/fake_world.h"

#include <poll.h>

#include <algorithm>

namespace postern::inbound::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

FakeWorld::FakeWorld() = default;

FakeWorld::~FakeWorld() {
    EXPECT_EQ(clients, 0) << "every admitted client leaves";
    EXPECT_TRUE(checks_.empty()) << "every check of a password is answered or given back";
    EXPECT_TRUE(submissions_.empty()) << "every submission is answered or given back";
    submissions_.clear();
}

bool FakeWorld::hand_over(const std::shared_ptr<const Terms>& terms, int descriptor) {
    if (hands_over) {
        handed_over.emplace_back(terms, descriptor);
    }
    return hands_over;
}

mail::Reply FakeWorld::arrived(mail::Client& client, const io::Address&) {
    EXPECT_EQ(client.address, "127.0.0.1");
    if (greeting_refusal.code != 0) {
        return greeting_refusal;
    }
    client.network = 42;
    client.trusted = true;
    client.key = 41;
    client.exempt = exempt || proxy;
    client.proxy = proxy;
    client.may_xclient = client.may_xforward = may_introduce;
    ++clients;
    return {};
}

mail::Reply FakeWorld::moved(mail::Client& client, const io::Address* address) {
    if (move_refusal.code == 0) {
        EXPECT_EQ(client.address, address == nullptr ? "unknown" : address->host_text());
        client.exempt = exempt;
        client.stated = true;
        client.key = 43;
        client.may_xclient = client.may_xforward = may_introduce;
        client_address = client.address;
        moves.push_back(client_address);
    }
    return move_refusal;
}

void FakeWorld::noticed(const mail::Client& client, Notice notice) {
    EXPECT_EQ(client.address, client_address);
    notices.push_back(notice);
}

void FakeWorld::left(const mail::Client& client) {
    EXPECT_EQ(client.key, client.stated ? 43U : 41U);
    EXPECT_EQ(client.network, 42U);
    EXPECT_EQ(client.exempt, exempt || (proxy && !client.stated));
    --clients;
}

mail::Submission* FakeWorld::begin(
    const mail::Client& client, std::uint64_t size, mail::Reply& refusal) {
    size_declared = size;
    if (begin_refusal.code != 0) {
        refusal = begin_refusal;
        return nullptr;
    }
    EXPECT_TRUE(client.trusted);
    submissions_.push_back(std::make_unique<mail::Submission>(arena_pool, tail_pool, chain_pool));
    mail::Submission& submission = *submissions_.back();
    submission.client = client;
    submission.client.address = submission.arena.copy(client.address).value();
    submission.client.helo = submission.arena.copy(client.helo).value();
    begun_as.emplace_back(client.login);
    const mail::Forwarded* forwarded = client.forwarded;
    introductions.push_back(
        std::string(client.name) +
        (forwarded == nullptr
             ? ""
             : "|" + std::string(forwarded->name) + "|" + std::string(forwarded->address) + "|" +
                   std::string(forwarded->ident)));
    submission.client.name = submission.arena.copy(client.name).value();
    submission.client.forwarded = nullptr;
    const std::string id = "ID" + std::to_string(++last_id_);
    std::copy(id.begin(), id.end(), submission.id_text.begin());
    submission.id_size = static_cast<std::uint8_t>(id.size());
    return &submission;
}

std::optional<mail::Reply> FakeWorld::recipient(
    mail::Submission& submission, mail::Recipient& recipient) {
    EXPECT_TRUE(submission.arena.copy(recipient.domain).has_value());
    if (!answers_recipients) {
        asking.push_back(&submission);
        return std::nullopt;
    }
    return smtp::test::decide(rules, recipient.domain);
}

void FakeWorld::handshake(const mail::Client& client, Handshake outcome) {
    EXPECT_EQ(client.tls_version != nullptr, outcome != Handshake::failed);
    handshakes.push_back(outcome);
}

bool FakeWorld::reserve(mail::Submission& submission, std::uint64_t octets, bool first) {
    EXPECT_EQ(first, submission.body.size() == 0);
    EXPECT_GE(octets, submission.body.pinned());
    reserved_most = std::max(reserved_most, octets);
    if (octets > body_octets_max) {
        return false;
    }
    submission.reserved_octets = octets;
    return true;
}

bool FakeWorld::received(const mail::Submission&, std::uint64_t octets) {
    received_octets += octets;
    return received_octets <= received_max;
}

void FakeWorld::submit(mail::Submission& submission) {
    waiting.push_back(&submission);
}

void FakeWorld::abandon(mail::Submission& submission) {
    EXPECT_EQ(submission.inbound_owner, nullptr);
    std::erase(asking, &submission);
    ++abandoned;
    free(submission);
}

void FakeWorld::refused(
    const mail::Client& client,
    const mail::Submission*,
    std::string_view what,
    std::string_view address,
    const mail::Reply& reply) {
    EXPECT_TRUE(client.address == client_address || move_refusal.code != 0);
    refusals.push_back(
        std::string(what) + "|" + std::string(address) + "|" + std::to_string(reply.code));
}

PasswordCheck* FakeWorld::check_password(
    const mail::Client& client, const smtp::Credentials& credentials, mail::Reply& refusal) {
    EXPECT_EQ(client.login, credentials.name);
    refusal = password_refusal;
    if (refusal.code != 0) {
        return nullptr;
    }
    const auto login = logins.find(std::string(credentials.name));
    checks_.push_back(std::make_unique<Check>());
    checks_.back()->good = login != logins.end() && login->second == credentials.password;
    return checks_.back().get();
}

void FakeWorld::forget(PasswordCheck& check) {
    EXPECT_EQ(check.inbound_owner, nullptr);
    std::erase_if(checks_, [&](const auto& held) { return held.get() == &check; });
}

void FakeWorld::told_login(const mail::Client& client, const mail::Reply& reply) {
    told_logins.push_back(std::string(client.login) + "|" + std::to_string(reply.code));
}

void FakeWorld::answer_waiting(Inbound& inbound) {
    while (answers && !checks_.empty()) {
        const std::unique_ptr<Check> check = std::move(checks_.front());
        checks_.erase(checks_.begin());
        inbound.authenticated(
            *check,
            check->good ? mail::Reply{235, {2, 7, 0}, "welcome"}
                        : smtp::answer_row(smtp::Answer::auth_failed).reply);
        EXPECT_EQ(check->inbound_owner, nullptr);
    }
    while (answers && !waiting.empty()) {
        mail::Submission& submission = *waiting.front();
        waiting.erase(waiting.begin());
        std::string envelope = (submission.envelope.reverse_path.empty()
                                    ? "<>"
                                    : std::string(submission.envelope.reverse_path)) +
                               " ->";
        for (const mail::Recipient* to = submission.envelope.first_recipient; to != nullptr;
             to = to->next) {
            envelope += " " + std::string(to->address);
        }
        std::string content;
        for (mail::Body::Cursor at = submission.body.begin(); at.slice() != nullptr; at.advance()) {
            content += at.slice()->view();
        }
        EXPECT_LE(submission.body.pinned(), reserved_most);
        const std::size_t line_end = content.find("\r\n") + 2;
        received_lines.push_back(content.substr(0, line_end));
        content.erase(0, line_end);
        messages.push_back(
            {envelope, content + (content.empty() || content.ends_with("\r\n") ? "" : "\r\n")});
        gone.push_back(inbound.sender_gone(submission));
        inbound.answer(submission, final_answer);
        EXPECT_EQ(submission.inbound_owner, nullptr);
        free(submission);
    }
}

void FakeWorld::free(mail::Submission& submission) {
    std::erase_if(submissions_, [&](const auto& held) { return held.get() == &submission; });
}

// --- the gateway ---------------------------------------------------------------------------------

ListenerSettings Gateway::usual() {
    ListenerSettings settings;
    settings.name = "test";
    settings.hostname = "gw.example.net";
    settings.message_size_max = 50 << 20;
    settings.recipients_max = 1000;
    settings.errors_max = 20;
    settings.received_max = 100;
    settings.command_timeout = seconds(60);
    settings.data_timeout = seconds(60);
    return settings;
}

Gateway::Gateway(const ListenerSettings& settings, int socket_buffer)
    : inbound(std::make_unique<Inbound>(*ring, timers, world)) {
    if (socket_buffer > 0) {
        for (const int option : {SO_RCVBUF, SO_SNDBUF}) {
            setsockopt(
                loopback.descriptor, SOL_SOCKET, option, &socket_buffer, sizeof socket_buffer);
        }
    }
    inbound->add_listener(0, loopback.release(), settings);
}

Gateway::~Gateway() {
    world.answers = true;
    world.answer_waiting(*inbound);
    inbound->cut();
    inbound->cut();
    EXPECT_TRUE(turn_until([&] { return inbound->closed(); }));
    inbound.reset();
}

void Gateway::turn() {
    const base::Instant soon = ring->now() + milliseconds(5);
    ring->turn(std::min(soon, timers.next()));
    timers.run(ring->now());
    world.answer_waiting(*inbound);
}

// --- the sender ----------------------------------------------------------------------------------

Sender::~Sender() {
    if (socket_ >= 0) {
        ::close(socket_);
    }
}

void Sender::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count =
            ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
        } else if (errno != EAGAIN) {
            return;
        }
        if (!bytes.empty()) {
            gateway_.turn();
        }
    }
}

/// False: nothing more will come.
bool Sender::read() {
    char buffer[65536];
    const ssize_t count = ::recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count > 0) {
        input_.append(buffer, static_cast<std::size_t>(count));
    } else {
        ended_ = count == 0 || errno != EAGAIN;
    }
    return !ended_;
}

std::string Sender::reply() {
    std::size_t size = 0;
    const auto whole = [&] {
        for (std::size_t at = 0, end = 0; (end = input_.find("\r\n", at)) != std::string::npos;
             at = end + 2) {
            if (end - at < 4 || input_[at + 3] != '-') {
                size = end + 2;
                return true;
            }
        }
        return !read();
    };
    gateway_.turn_until(whole);
    size = size == 0 ? input_.size() : size;
    const std::string reply = input_.substr(0, size);
    input_.erase(0, size);
    return reply;
}

std::string Sender::ask(std::string_view line) {
    send(std::string(line) + "\r\n");
    return reply();
}

bool Sender::closed_by_peer() {
    gateway_.turn_until([&] { return !read() || !input_.empty(); });
    return ended_ && input_.empty();
}

void Sender::end_sending() {
    ::shutdown(socket_, SHUT_WR);
}

void Sender::reset() {
    io::test::reset(std::exchange(socket_, -1));
}

void Sender::hang_up() {
    ::close(std::exchange(socket_, -1));
}

void begin_transaction(Sender& sender) {
    EXPECT_TRUE(sender.reply().starts_with("220 gw.example.net "));
    EXPECT_TRUE(sender.ask("EHLO c.example").starts_with("250-gw.example.net\r\n"));
    sender.send(one_envelope);
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.0 "));
    EXPECT_TRUE(sender.reply().starts_with("250 2.1.5 "));
}

}  // namespace postern::inbound::test
