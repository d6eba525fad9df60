#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load/messages.h"
#include "bench/load/steps.h"

/// A sender's side of one SMTP connection, for load: replies in, commands and message content out.
/// Pure; one thread. A room of its own on purpose: it shares no protocol code with what it
/// measures.
namespace postern::bench {

struct SenderOptions {
    std::string helo = "bench.invalid";
    std::string from_domain =
        "bench.invalid";  // of the reverse-path; its local part is the message's identity
    std::uint32_t run = 0;
    bool starttls = false;  // after the first EHLO; a peer that does not offer it is of no use
    bool bdat = false;
    bool pipelining = true;        // where the peer offers it
    std::uint64_t chunk_size = 0;  // octets of a BDAT chunk; 0: the whole message in one
    const RecipientPlan* recipients = nullptr;
};

/// Octets to be sent: text of its own and pieces of memory that outlives it.
class Outgoing {
   public:
    void clear() {
        text_.clear();
        pieces_.clear();
        size_ = 0;
    }

    bool empty() const { return size_ == 0; }

    std::uint64_t size() const { return size_; }

    /// What is appended to text() between begin_text() and end_text() is sent behind what is there
    /// already.
    std::string& begin_text() {
        text_start_ = text_.size();
        return text_;
    }

    void end_text() { add({nullptr, text_start_, text_.size() - text_start_}); }

    void refer(std::string_view memory) { add({memory.data(), 0, memory.size()}); }

    /// Overwrites `into`; valid until the next change.
    void pieces(std::vector<iovec>& into);

   private:
    struct Piece {
        const char* memory;  // nullptr: in text_
        std::size_t offset;
        std::size_t size;
    };

    void add(Piece piece);
    std::string text_;
    std::vector<Piece> pieces_;
    std::size_t text_start_ = 0;
    std::uint64_t size_ = 0;
};

class Sender {
   public:
    /// What became of a message. `unknown`: all of it was handed over, and no answer came.
    /// `unsent`: it cannot have been taken.
    enum class Verdict : std::uint8_t { accepted, refused, unknown, unsent };

    Sender(const SenderOptions& options, AnswerCounts& answers)
        : options_(options), answers_(answers) {}

    /// A new connection: a greeting is awaited.
    void connected();
    /// What the peer sent. False: that was no SMTP, or an answer to nothing; the connection is to
    /// be closed.
    bool consume(std::string_view bytes);
    /// Appends what may be sent now. REQUIRES: what was produced before has been sent.
    void produce(Outgoing& out);

    /// The peer has agreed to STARTTLS: a handshake is due, and then `secured`.
    bool wants_tls() const { return wants_tls_; }

    void secured();

    /// Greeted, and no transaction under way.
    bool ready() const { return next_ == Next::nothing && awaiting() == 0 && !wants_tls_; }

    /// The peer refused the session, or has said goodbye: nothing more can be done on this
    /// connection.
    bool over() const { return over_; }

    /// REQUIRES: ready. `message` outlives the transaction.
    void begin(const Message& message, std::uint64_t number);

    void quit() { next_ = Next::quit; }

    /// The transaction is over, its verdict() stands.
    bool finished() const { return next_ == Next::finished; }

    void forget() { next_ = Next::nothing; }

    /// As things stand; if the connection ended now.
    Verdict verdict() const;

    /// Recipients, by index, that were refused while others were accepted or still could be.
    const std::vector<unsigned>& refused_recipients() const { return refused_; }

    bool content_produced() const { return content_produced_; }

    /// Answers are owed.
    std::size_t awaiting() const { return awaited_.size() - answered_; }

   private:
    enum class Next : std::uint8_t {
        nothing,
        ehlo,
        starttls,
        rset,
        mail,
        rcpt,
        data,
        content,
        chunk,
        verdict,
        finished,
        quit
    };
    bool on_line(std::string_view line);
    bool on_reply(int code);
    void on_rcpt_reply(int code);

    void fail(int code) { failure_ = failure_ == 0 ? code : failure_; }

    void await(Step step) { awaited_.push_back(step); }

    bool may_send() const { return awaiting() == 0 || pipelined_; }

    bool produce_one(Outgoing& out);
    void produce_mail(Outgoing& out);
    void produce_rcpt(Outgoing& out);
    void produce_chunk(Outgoing& out);
    void finish();

    const SenderOptions& options_;
    AnswerCounts& answers_;
    Next next_ = Next::nothing;
    bool over_ = false;
    bool wants_tls_ = false;
    bool secured_ = false;  // by STARTTLS
    std::string line_;      // a reply's line of which a part came

    bool offers_starttls_ = false;
    bool offers_pipelining_ = false;
    bool offers_chunking_ = false;
    bool offers_size_ = false;
    bool offers_8bit_ = false;
    bool pipelined_ = false;
    bool reset_needed_ = false;

    std::vector<Step> awaited_;
    std::size_t answered_ = 0;

    Message message_;
    std::uint64_t number_ = 0;
    unsigned rcpts_produced_ = 0;
    unsigned rcpts_answered_ = 0;
    std::vector<unsigned> refused_;
    int first_rcpt_refusal_ = 0;
    int failure_ = 0;  // the code of the first step that was refused
    int data_code_ = 0;
    std::uint64_t content_offset_ = 0;
    bool content_produced_ = false;
    bool body_answered_ = false;
};

}  // namespace postern::bench
