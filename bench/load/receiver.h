#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load/content.h"
#include "bench/load/faults.h"
#include "bench/load/ledger.h"
#include "bench/load/scan.h"
#include "postern/base/time.h"

/// A smart host's side of one SMTP connection, for the sink: octets in, answers out, what came goes
/// into a ledger. It is strict: what RFC 5321, 2920 or 3030 forbid a client is counted. Pure; one
/// thread; the ledger's mutex is held by the caller.
namespace postern::bench {

struct ReceiverOptions {
    std::string hostname = "sink.invalid";
    bool starttls = false;
    bool pipelining = true;
    bool chunking = true;
    bool eight_bit_mime = true;
    bool smtputf8 = true;
    std::uint64_t size_max = 0;   // announced and held; 0: SIZE is not offered
    std::string limits;           // the parameter of LIMITS; empty: not offered
    int received_lines = 0;       // Received: lines that gateways on the way put in front
    bool break_chunking = false;  // CHUNKING is offered, and BDAT is not understood
    std::vector<Fault> faults;
    std::vector<Rejection> rejections;
};

class Receiver {
   public:
    Receiver(const ReceiverOptions& options, Ledger& ledger)
        : options_(options), ledger_(ledger), skipper_(0) {}

    /// A new connection; `random` drives the faults' probabilities.
    void connected(std::uint64_t random);
    /// Takes what it can of the peer's octets and appends answers to `out`. Fewer than all: it is
    /// paused, waits for TLS, or the connection is over.
    std::size_t consume(std::string_view bytes, std::string& out);

    /// An answer is held back: call resume() after this time; nothing is read meanwhile. Zero: no.
    base::Duration pause() const { return pause_; }

    void resume(std::string& out);

    /// The peer was told to begin its handshake: once that is sent, TLS is due, and then `secured`.
    bool wants_tls() const { return wants_tls_; }

    void secured();

    /// To be closed: gracefully once all is sent.
    bool over() const { return state_ == State::over; }

    /// A message's content is awaited.
    bool in_content() const { return state_ == State::data || state_ == State::chunk; }

   private:
    enum class State : std::uint8_t { command, data, chunk, silent, over };

    struct Parameters {
        bool eight_bit = false;
        bool utf8 = false;
        std::uint64_t size = 0;
    };

    void on_line(std::string_view line, bool more_behind, std::string& out);
    void on_command(std::string_view line, bool more_behind, std::string& out);
    void on_ehlo(bool extended, std::string& out);
    void on_starttls(std::string& out);
    void on_mail(std::string_view arguments, std::string& out);
    void on_rcpt(std::string_view arguments, std::string& out);
    void on_data(std::string& out);
    void on_bdat(std::string_view arguments, std::string& out);
    void on_content(std::string_view bytes);
    void on_data_end(std::string& out);
    void on_chunk_end(std::string& out);
    void finish_message(std::string& out);
    void check_content();
    bool parse_parameters(std::string_view text, Parameters& parameters);
    std::size_t consume_line(std::string_view bytes, std::string& out);
    std::size_t consume_data(std::string_view bytes, std::string& out);
    std::size_t consume_chunk(std::string_view bytes, std::string& out);

    /// Gives the answer of a step, or what a fault makes of it. Returns the code, 0 for none.
    int answer(Step step, int code, std::string_view text, std::string& out);
    void violation(std::string_view kind, std::string_view example);
    void reset_transaction();
    void take_over(bool answered);

    const ReceiverOptions& options_;
    Ledger& ledger_;
    State state_ = State::command;
    std::uint64_t random_ = 0;
    base::Duration pause_{};
    std::string held_back_;  // the answer that waits for the end of the pause
    std::string line_;       // a command of which a part came

    bool greeted_ = false;
    bool welcome_ = false;  // it was greeted with 220 (RFC 5321, 3.1)
    bool said_hello_ = false;
    bool wants_tls_ = false;
    bool secured_ = false;
    bool confused_ = false;  // BDAT was not understood, so what follows it is taken for commands
    bool in_transaction_ = false;
    bool refused_ = false;  // we refused a command, so those that were pipelined behind it may come
                            // at the wrong time
    bool chunked_ = false;  // BDAT was used in this transaction
    bool chunk_valid_ = false;
    bool chunk_last_ = false;
    std::uint64_t chunk_left_ = 0;
    Parameters parameters_;
    std::optional<Identity> identity_;
    bool null_sender_ = false;
    Delivery delivery_;
    ContentScanner scanner_;
    ReceivedSkipper skipper_;
    ContentSum sum_;
    std::uint64_t content_size_ = 0;
    std::string stored_;
    std::vector<std::string_view> pieces_;
};

}  // namespace postern::bench
