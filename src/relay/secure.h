#pragma once

#include <sys/uio.h>

#include <array>
#include <span>
#include <string_view>

#include "postern/base/block.h"
#include "postern/tls/session.h"

namespace postern::relay {

/// TLS on one connection, between its stream and its session: octets from the host in, plain ones
/// out; plain pieces in, records out, in blocks of the corridor's. Owned by its connection, made
/// when the host has agreed to TLS. What it gives out leaves in the order in which it was made: one
/// send at a time, of all that is ready.
class Secure {
   public:
    /// Plain octets that one record takes, so that it fits a block; and the least size of
    /// `scratch`.
    static constexpr std::size_t record_octets = 16256;

    Secure(const tls::ClientContext& context, const tls::Peer& peer, base::BlockPool& blocks);

    /// Goes on with the handshake; takes of `input` what is the handshake's.
    tls::Status handshake(std::string_view& input);

    bool established() const { return session_.established(); }

    /// Decrypts what fits into `into`, from the front of `input`. As tls::Session::read, but never
    /// `room`.
    tls::Status read(std::string_view& input, std::span<char> into, std::size_t& count);

    /// What is to go next. REQUIRES: nothing is left of what was given before. The pieces outlive
    /// `has_rest`, and are changed.
    void give(std::span<iovec> pieces) { rest_ = pieces; }

    /// Plain octets wait that were not made into records.
    bool has_rest() const { return !rest_.empty(); }

    /// Makes records of the rest, as far as there are blocks for one send: large pieces as they
    /// lie, small ones gathered in `scratch`. False: it failed.
    bool seal(std::span<char> scratch);

    /// What is to be sent now; empty: nothing. From here to sent() it is with the kernel.
    std::span<iovec> outgoing();
    void sent();

    const std::string& failure() const { return session_.failure(); }

    tls::Resumption take_resumption() { return session_.take_resumption(); }

   private:
    static constexpr std::size_t blocks_max = 5;  // of one send
    static constexpr std::size_t sealed_max = 4;  // of them for what was given

    struct Blocks {
        std::array<base::BlockRef, blocks_max> blocks;
        std::array<std::size_t, blocks_max> used{};
        std::size_t count = 0;
    };

    std::span<char> room(std::size_t octets);
    void keep(std::span<char> all, std::span<char> left);
    std::string_view gather(std::span<char> scratch) const;
    void take(std::size_t octets);
    template <class Call>
    tls::Status step(std::string_view& input, Call&& call);

    tls::Session session_;
    base::BlockPool& pool_;
    std::span<iovec> rest_;
    Blocks ready_;
    Blocks sending_;
    std::array<iovec, blocks_max> pieces_{};
};

}  // namespace postern::relay
