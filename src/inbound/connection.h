#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "corridor.h"
#include "postern/base/list.h"
#include "postern/io/stream.h"
#include "postern/io/timer.h"
#include "postern/smtp/server_session.h"

namespace postern::inbound {

struct AllConnections;

/// One sender. Moves octets between its stream and its session, and asks the world what the session
/// wishes to know.
///
/// Nothing is read while it cannot be used: a receive is armed only when all input is consumed and
/// the session wants more. Answers gather in one block; at most one send is under way, and while
/// the block is full no input is consumed. An idle connection holds neither block. Lives in the
/// corridor's pool, from accept to on_closed.
class Connection final : private io::StreamOwner,
                         private io::Timer,
                         public base::ListLink<AllConnections> {
   public:
    Connection(Corridor& corridor, std::shared_ptr<const Terms> terms, const io::Address& address);
    ~Connection();

    /// Asks the world whether this client may come, and greets it or sends it away.
    void begin(int descriptor);
    void answer(const mail::Reply& reply);
    bool sender_gone();
    void shut_down();
    void cut();

   private:
    void on_connected(int error) override;
    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    static void on_due(io::Timer& self);

    bool take_output_block();
    smtp::Exchange exchange();
    void note_written(const smtp::Exchange& exchange);

    void run();
    bool step();
    bool act(smtp::Wish wish, smtp::Exchange& exchange);
    void begin_submission(smtp::Exchange& exchange);
    void take_recipient(smtp::Exchange& exchange);
    void begin_body(smtp::Exchange& exchange);
    void append(smtp::Exchange& exchange);
    void refuse_body(smtp::Exchange& exchange);
    void submit();
    bool reserve(std::uint64_t octets);
    bool append_received_line();

    void complete_line();
    void want_input();
    void flush();
    void set_deadline(base::Duration from_now);
    void end(smtp::Answer answer);
    void leave_submission();
    void close();
    void refused(std::string_view what, std::string_view address, const mail::Reply& reply);

    mail::Client client(io::Address::HostText& text) const;

    Corridor& corridor_;
    const std::shared_ptr<const Terms> terms_;
    mail::Submission* submission_ = nullptr;
    std::uint64_t client_network_ = 0;
    std::uint64_t client_generation_ = 0;
    std::uint64_t reserved_ = 0;  // octets, for the body
    base::BlockRef received_block_;
    std::string_view received_;  // what is not consumed yet; lies in received_block_
    base::BlockRef line_;        // a command line of which a part has come
    base::BlockRef
        output_;  // answers: [0, written_), of which [0, sent_) are with the kernel or gone
    std::uint32_t written_ = 0;
    std::uint32_t sent_ = 0;
    std::uint16_t line_size_ = 0;
    bool admitted_ = false;  // the world counts it
    bool trusted_ = false;
    bool exempt_ = false;
    bool counted_ = false;
    bool closing_ = false;  // when all is sent, it ends
    io::Address address_;
    io::Stream stream_;
    smtp::ServerSession session_;
};

}  // namespace postern::inbound
