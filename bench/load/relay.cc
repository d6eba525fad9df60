#include "bench/load/relay.h"

#include <fmt/format.h>
#include <strings.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/load/listening.h"
#include "bench/load/stop.h"
#include "postern/io/listener.h"
#include "postern/io/stream.h"

namespace postern::bench {

namespace {

constexpr base::Duration look_around = std::chrono::milliseconds(100);  // for a request to stop
constexpr std::size_t pieces_max = 1024;                                // in one send
constexpr std::uint64_t ending_octets_max = 1 << 20;
constexpr std::size_t line_max = 4096;
constexpr std::string_view data_end = "\r\n.\r\n";
constexpr std::size_t dot_size = 3;  // of the line that ends the data

/// A message: as much of its commands as goes on, and the data as it came, the last dot included.
struct Message {
    std::string envelope;  // MAIL and each RCPT
    int recipients = 0;
    std::vector<base::BlockRef> blocks;  // in which `data` lies
    std::vector<iovec> data;
    std::size_t size = 0;

    void clear() {
        envelope.clear();
        recipients = 0;
        blocks.clear();
        data.clear();
        size = 0;
    }
};

/// Where data ends, by the last octets of what came.
class DataEnd {
   public:
    /// The data begins: the line of DATA is behind.
    void reset() { tail_ = "\r\n"; }

    bool ends_with(std::string_view piece) {
        if (piece.size() < data_end.size()) {
            tail_ += piece;
            tail_.erase(0, tail_.size() - std::min(tail_.size(), data_end.size()));
        } else {
            tail_.assign(piece.substr(piece.size() - data_end.size()));
        }
        return tail_ == data_end;
    }

   private:
    std::string tail_;
};

class Relay;
class Session;

/// A kept connection to the smart host.
class HostConnection final : public io::StreamOwner {
   public:
    explicit HostConnection(Relay& relay) : relay_(relay) {}

    /// Connects; `begin` may be called at once. Not when it is connected.
    void connect();
    /// Takes the message over and tells `session`, unless it leaves, what the host says of it.
    void begin(Message&& message, Session& session);

    void leave() { session_ = nullptr; }

    Message& message() { return message_; }

    bool connected() const { return stream_.has_value(); }

    void close();

    void forget() { stream_.reset(); }

   private:
    enum class State : std::uint8_t { greeting, ehlo, ready, envelope, body };

    void on_connected(int error) override;
    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    void send_message();
    void send_pieces();
    void take_replies();
    void on_reply(std::string_view reply);
    void done(std::string_view answer);
    void fail(std::string_view answer);

    Relay& relay_;
    std::optional<io::Stream> stream_;
    Session* session_ = nullptr;
    Message message_;
    std::vector<iovec> pieces_;
    std::size_t pieces_sent_ = 0;
    std::string input_;    // replies that are not taken yet
    std::string verdict_;  // the first answer to a message that refuses it
    State state_ = State::greeting;
    int answers_due_ = 0;
    bool working_ = false;  // has a message
    bool chunking_ = false;
    bool pipelining_ = false;
};

/// A sender.
class Session final : public io::StreamOwner {
   public:
    explicit Session(Relay& relay) : relay_(relay) {}

    void open(int descriptor);
    /// What the host said of the message.
    void answer(std::string_view text);

    bool connected() const { return stream_.has_value(); }

    void close() { stream_->close(); }

    void forget() { stream_.reset(); }

   private:
    enum class State : std::uint8_t { command, data, passing_on, over };

    void on_connected(int) override {}

    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    void on_line(std::string_view line);
    void on_data(base::BlockRef block, std::string_view bytes);
    void go_on();

    Relay& relay_;
    std::optional<io::Stream> stream_;
    HostConnection* host_ = nullptr;  // that has our message
    Message message_;
    DataEnd end_;
    std::string line_;  // of which a part came
    std::string out_;
    std::string sending_;
    State state_ = State::command;
};

class Relay final : public io::ListenerOwner {
   public:
    explicit Relay(const RelayOptions& options) : options_(options) {}

    base::Result<void> run(int listener);

    io::Ring& ring() { return *ring_; }

    const io::Address& to() const { return options_.to; }

    /// One that is idle, or a new one that connects.
    HostConnection& host();

    void idle(HostConnection& host) { idle_hosts_.push_back(&host); }

    void not_idle(HostConnection& host) { std::erase(idle_hosts_, &host); }

    void closed(HostConnection& host) { closed_hosts_.push_back(&host); }

    void closed(Session& session) { closed_sessions_.push_back(&session); }

   private:
    void on_accepted(int descriptor) override;

    void on_accept_paused(int) override {}

    void on_listener_closed() override { listening_ = false; }

    void turn(io::Timers& timers);
    bool all_closed() const;

    const RelayOptions& options_;
    std::unique_ptr<io::Ring> ring_;
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<Session*> free_sessions_, closed_sessions_;
    std::vector<std::unique_ptr<HostConnection>> hosts_;
    std::vector<HostConnection*> idle_hosts_, free_hosts_, closed_hosts_;
    bool listening_ = true;
};

// --- the smart host ------------------------------------------------------------------------------

void HostConnection::connect() {
    stream_.emplace(relay_.ring(), *this);
    state_ = State::greeting;
    working_ = chunking_ = pipelining_ = false;
    answers_due_ = 1;
    input_.clear();
    pieces_.clear();
    pieces_sent_ = 0;
    if (!stream_->connect(relay_.to(), nullptr).ok()) {
        stream_->close();
    }
}

void HostConnection::begin(Message&& message, Session& session) {
    std::swap(message_, message);
    session_ = &session;
    working_ = true;
    if (state_ == State::ready) {
        send_message();
    }
}

void HostConnection::close() {
    relay_.not_idle(*this);
    stream_->close();
}

void HostConnection::on_connected(int error) {
    if (error != 0) {
        close();
    } else {
        stream_->receive(io::BufferGroup::command);
    }
}

void HostConnection::send_message() {
    verdict_.clear();
    state_ = State::envelope;
    pieces_.clear();
    if (chunking_) {
        fmt::format_to(
            std::back_inserter(message_.envelope),
            FMT_STRING("BDAT {} LAST\r\n"),
            message_.size - dot_size);
    } else {
        message_.envelope += "DATA\r\n";
    }
    pieces_.push_back({message_.envelope.data(), message_.envelope.size()});
    if (chunking_) {
        pieces_.insert(pieces_.end(), message_.data.begin(), message_.data.end());
        for (std::size_t left = dot_size; left > 0;) {
            iovec& last = pieces_.back();
            const std::size_t cut = std::min(last.iov_len, left);
            last.iov_len -= cut;
            left -= cut;
            if (last.iov_len == 0) {
                pieces_.pop_back();
            }
        }
    }
    answers_due_ = 1 + message_.recipients + 1;
    pieces_sent_ = 0;
    send_pieces();
}

void HostConnection::send_pieces() {
    const std::size_t count = std::min(pieces_max, pieces_.size() - pieces_sent_);
    stream_->send(std::span(pieces_).subspan(pieces_sent_, count));
    pieces_sent_ += count;
}

void HostConnection::on_sent(int error) {
    if (error != 0) {
        close();
    } else if (pieces_sent_ < pieces_.size()) {
        send_pieces();
    } else {
        take_replies();
    }
}

void HostConnection::on_received(base::BlockRef, std::string_view bytes, int error) {
    if (error != 0 || bytes.empty()) {
        close();
        return;
    }
    input_ += bytes;
    take_replies();
    if (stream_->open()) {
        stream_->receive(io::BufferGroup::command);
    }
}

/// What comes while something is being sent waits until it is.
void HostConnection::take_replies() {
    std::size_t begin = 0;  // of a reply, and of a line of it
    for (std::size_t line = 0, end = 0; stream_->open() && !stream_->sending(); line = end) {
        end = input_.find('\n', line) + 1;
        if (end == 0) {
            break;
        }
        const bool more = end - line > 4 && input_[line + 3] == '-';
        if (!more && --answers_due_ < 0) {
            close();
            break;
        }
        if (!more) {
            on_reply(std::string_view(input_).substr(begin, end - begin));
            begin = end;
        }
    }
    input_.erase(0, begin);
}

/// `reply`: all its lines, with their ends.
void HostConnection::on_reply(std::string_view reply) {
    const bool positive = reply[0] == '2';
    switch (state_) {
        case State::greeting:
            if (!positive) {
                fail("451 4.4.1 the smart host refuses the session\r\n");
                return;
            }
            state_ = State::ehlo;
            answers_due_ = 1;
            stream_->send(std::string_view("EHLO relay.invalid\r\n"));
            return;
        case State::ehlo:
            chunking_ = reply.find("CHUNKING\r\n") != std::string::npos;
            pipelining_ = reply.find("PIPELINING\r\n") != std::string::npos;
            if (!positive || !pipelining_) {
                fail("451 4.4.1 the smart host offers no PIPELINING\r\n");
                return;
            }
            state_ = State::ready;
            if (working_) {
                send_message();
            }
            return;
        case State::ready:
            return;
        case State::envelope:
            if (!positive && reply[0] != '3' && verdict_.empty()) {
                verdict_ = reply;
            }
            if (answers_due_ > 0) {
                return;
            }
            if (!verdict_.empty()) {
                fail(verdict_);
            } else if (chunking_) {
                done(reply);
            } else {
                state_ = State::body;
                answers_due_ = 1;
                pieces_.swap(message_.data);
                pieces_sent_ = 0;
                send_pieces();
            }
            return;
        case State::body:
            done(reply);
            return;
    }
}

void HostConnection::done(std::string_view answer) {
    state_ = State::ready;
    working_ = false;
    message_.clear();
    relay_.idle(*this);
    if (session_ != nullptr) {
        std::exchange(session_, nullptr)->answer(answer);
    }
}

/// What the host refuses, ends the connection: no transaction is left half open.
void HostConnection::fail(std::string_view answer) {
    if (session_ != nullptr) {
        std::exchange(session_, nullptr)->answer(answer);
    }
    close();
}

void HostConnection::on_closed() {
    message_.clear();
    relay_.closed(*this);
    if (session_ != nullptr) {
        std::exchange(session_, nullptr)->answer("451 4.4.2 no answer of the smart host\r\n");
    }
}

// --- the sender ----------------------------------------------------------------------------------

void Session::open(int descriptor) {
    stream_.emplace(relay_.ring(), *this);
    stream_->adopt(descriptor);
    state_ = State::command;
    host_ = nullptr;
    message_.clear();
    line_.clear();
    out_ = "220 relay.invalid ESMTP\r\n";
    go_on();
}

void Session::on_received(base::BlockRef block, std::string_view bytes, int error) {
    if (error != 0 || bytes.empty()) {
        stream_->close();
        return;
    }
    while (state_ == State::command && !bytes.empty()) {
        const std::size_t end = std::min(bytes.find('\n'), bytes.size() - 1) + 1;
        const std::string_view part = bytes.substr(0, end);
        bytes.remove_prefix(end);
        if (line_.empty() && part.ends_with('\n')) {
            on_line(part);
            continue;
        }
        line_ += part;
        if (line_.ends_with('\n')) {
            on_line(line_);
            line_.clear();
        } else if (line_.size() > line_max) {
            stream_->close();
            return;
        }
    }
    if (state_ == State::data && !bytes.empty()) {
        on_data(std::move(block), bytes);
    }
    go_on();
}

/// `line` with its end.
void Session::on_line(std::string_view line) {
    const auto is = [&line](std::string_view verb) {
        return line.size() > verb.size() &&
               ::strncasecmp(line.data(), verb.data(), verb.size()) == 0;
    };
    if (is("MAIL")) {
        message_.clear();
        message_.envelope = line;
        out_ += "250 2.1.0 ok\r\n";
    } else if (is("RCPT")) {
        message_.envelope += line;
        ++message_.recipients;
        out_ += "250 2.1.5 ok\r\n";
    } else if (is("DATA")) {
        if (message_.recipients == 0) {
            out_ += "503 5.5.1 RCPT first\r\n";
            return;
        }
        state_ = State::data;
        end_.reset();
        out_ += "354 go ahead\r\n";
    } else if (is("RSET")) {
        message_.clear();
        out_ += "250 2.0.0 ok\r\n";
    } else if (is("EHLO")) {
        out_ += "250-relay.invalid\r\n250 PIPELINING\r\n";
    } else if (is("QUIT")) {
        state_ = State::over;
        out_ += "221 2.0.0 bye\r\n";
    } else {
        out_ += "500 5.5.1 not understood\r\n";
    }
}

void Session::on_data(base::BlockRef block, std::string_view bytes) {
    message_.data.push_back({const_cast<char*>(bytes.data()), bytes.size()});
    message_.blocks.push_back(std::move(block));
    message_.size += bytes.size();
    if (end_.ends_with(bytes)) {
        state_ = State::passing_on;
        host_ = &relay_.host();
        host_->begin(std::move(message_), *this);
    }
}

void Session::answer(std::string_view text) {
    host_ = nullptr;
    state_ = State::command;
    out_ += text;
    go_on();
}

void Session::go_on() {
    if (!stream_->open()) {
        return;
    }
    if (!out_.empty() && !stream_->sending()) {
        std::swap(out_, sending_);
        out_.clear();
        stream_->send(sending_);
    }
    switch (state_) {
        case State::command:
        case State::data:
            if (!stream_->receiving()) {
                stream_->receive(
                    state_ == State::data ? io::BufferGroup::body : io::BufferGroup::command);
            }
            return;
        case State::passing_on:
            return;
        case State::over:
            if (!stream_->sending() && !stream_->receiving()) {
                stream_->end(ending_octets_max);
            }
            return;
    }
}

void Session::on_sent(int error) {
    if (error != 0) {
        stream_->close();
    } else {
        go_on();
    }
}

void Session::on_closed() {
    if (host_ != nullptr) {
        host_->leave();
        host_ = nullptr;
    }
    message_.clear();
    relay_.closed(*this);
}

// --- all of it -----------------------------------------------------------------------------------

HostConnection& Relay::host() {
    if (!idle_hosts_.empty()) {
        HostConnection& host = *idle_hosts_.back();
        idle_hosts_.pop_back();
        return host;
    }
    if (free_hosts_.empty()) {
        hosts_.push_back(std::make_unique<HostConnection>(*this));
        free_hosts_.push_back(hosts_.back().get());
    }
    HostConnection& host = *free_hosts_.back();
    free_hosts_.pop_back();
    host.connect();
    return host;
}

void Relay::on_accepted(int descriptor) {
    if (free_sessions_.empty()) {
        sessions_.push_back(std::make_unique<Session>(*this));
        free_sessions_.push_back(sessions_.back().get());
    }
    Session& session = *free_sessions_.back();
    free_sessions_.pop_back();
    session.open(descriptor);
}

void Relay::turn(io::Timers& timers) {
    ring_->turn(std::min(timers.next(), ring_->now() + look_around));
    timers.run(ring_->now());
    for (Session* session : closed_sessions_) {
        session->forget();
        free_sessions_.push_back(session);
    }
    closed_sessions_.clear();
    for (HostConnection* host : closed_hosts_) {
        host->forget();
        free_hosts_.push_back(host);
    }
    closed_hosts_.clear();
}

bool Relay::all_closed() const {
    const auto closed = [](const auto& connection) { return !connection->connected(); };
    return !listening_ && std::all_of(sessions_.begin(), sessions_.end(), closed) &&
           std::all_of(hosts_.begin(), hosts_.end(), closed);
}

base::Result<void> Relay::run(int descriptor) {
    auto ring = io::Ring::create({});
    if (!ring.ok()) {
        return ring.error();
    }
    ring_ = std::move(*ring);
    io::Timers timers(ring_->now());
    io::Listener listener(*ring_, timers, *this);
    listener.open(descriptor);
    while (!stop_requested) {
        turn(timers);
    }
    listener.close();
    while (!all_closed()) {
        for (const auto& session : sessions_) {
            if (session->connected()) {
                session->close();
            }
        }
        for (const auto& host : hosts_) {
            if (host->connected()) {
                host->close();
            }
        }
        turn(timers);
    }
    // The ring goes after all that uses it.
    sessions_.clear();
    hosts_.clear();
    return {};
}

}  // namespace

int run_relay(RelayOptions options) {
    stop_on_signals();
    const auto failed = [](const base::Error& error) {
        fmt::print(stderr, "postern-bench relay: {}\n", error.text);
        return 1;
    };
    const auto listener = listen_at(options.listen);
    if (!listener.ok()) {
        return failed(listener.error());
    }
    fmt::print("listening on {}\n", options.listen.text());
    std::fflush(stdout);
    const auto ran = Relay(options).run(*listener);
    return ran.ok() ? 0 : failed(ran.error());
}

}  // namespace postern::bench
