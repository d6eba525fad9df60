#include "postern/spool/kept.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "kept_access.h"
#include "postern/base/assert.h"

namespace postern::spool {
namespace {

constexpr std::uint8_t bit_smtputf8 = 1;
constexpr std::uint8_t bit_trusted = 2;
constexpr std::uint8_t bit_held = 4;
constexpr std::uint8_t bit_notification = 8;
constexpr std::uint8_t bit_has_eight_bit = 16;
constexpr std::uint8_t bit_has_utf8_header = 32;
constexpr std::uint8_t bit_has_dot_line = 64;

std::uint16_t size_of(std::string_view text) {
    POSTERN_ASSERT(text.size() <= journal::text_max, "a text of a message can be kept");
    return static_cast<std::uint16_t>(text.size());
}

/// Recipients lie behind the message itself, texts behind them.
constexpr std::size_t recipients_at =
    (sizeof(Kept) + alignof(KeptRecipient) - 1) / alignof(KeptRecipient) * alignof(KeptRecipient);

std::string_view put(char*& at, std::string_view text) {
    if (!text.empty()) {
        std::memcpy(at, text.data(), text.size());
    }
    at += text.size();
    return {at - text.size(), text.size()};
}

}  // namespace

Kept* Kept::make(
    const journal::Id& id,
    const journal::Message& message,
    std::uint64_t content_size,
    std::span<const journal::Recipient> recipients) {
    POSTERN_ASSERT(
        content_size <= std::numeric_limits<std::uint32_t>::max(), "a message is under 4 GiB");
    std::size_t size = recipients_at + recipients.size() * sizeof(KeptRecipient) +
                       message.reverse_path.size() + message.envid.size() + message.client.size();
    for (const journal::Recipient& recipient : recipients) {
        size += recipient.address.size() + recipient.original.size();
    }
    void* memory = std::malloc(size);
    POSTERN_ASSERT(memory != nullptr, "there is no memory for a message's envelope");
    Kept* kept = new (memory) Kept;
    kept->id_ = id;
    kept->arrival_ms_ = message.arrival_ms;
    kept->expires_ms_ = message.expires_ms;
    kept->mode_ = static_cast<std::uint8_t>(message.mode) & 3;
    kept->body_type_ = static_cast<std::uint8_t>(message.body_type) & 3;
    kept->returned_ = static_cast<std::uint8_t>(message.ret) & 3;
    kept->bits_ = static_cast<std::uint8_t>(
        (message.smtputf8 ? bit_smtputf8 : 0) | (message.trusted ? bit_trusted : 0) |
        (message.held ? bit_held : 0) | (message.notification ? bit_notification : 0) |
        (message.has_eight_bit ? bit_has_eight_bit : 0) |
        (message.has_utf8_header ? bit_has_utf8_header : 0) |
        (message.has_dot_line ? bit_has_dot_line : 0));
    kept->content_size_ = static_cast<std::uint32_t>(content_size);
    kept->recipient_count_ = static_cast<std::uint32_t>(recipients.size());
    kept->reverse_path_size_ = size_of(message.reverse_path);
    kept->envid_size_ = size_of(message.envid);
    kept->client_size_ = size_of(message.client);
    char* at = kept->texts();
    put(at, message.reverse_path);
    put(at, message.envid);
    put(at, message.client);
    auto* into = reinterpret_cast<KeptRecipient*>(static_cast<char*>(memory) + recipients_at);
    for (const journal::Recipient& recipient : recipients) {
        KeptRecipient* made = new (into++) KeptRecipient;
        made->address = put(at, recipient.address);
        made->original = put(at, recipient.original);
        if (!recipient.reply.empty()) {
            made->reply = std::make_shared<const KeptReply>(
                KeptReply{std::string(recipient.reply), std::nullopt});
        }
        made->next_try_ms = recipient.next_try_ms;
        made->attempts = recipient.attempts;
        made->notify = recipient.notify;
        made->state = recipient.state;
        made->delay_told = recipient.delay_told;
    }
    return kept;
}

void Kept::destroy(Kept* kept) {
    POSTERN_ASSERT(!kept->busy(), "a message is not destroyed while the spool works on it");
    std::destroy_n(kept->recipients().data(), kept->recipient_count_);
    kept->~Kept();
    std::free(kept);
}

std::span<KeptRecipient> Kept::recipients() {
    char* memory = reinterpret_cast<char*>(this) + recipients_at;
    return {std::launder(reinterpret_cast<KeptRecipient*>(memory)), recipient_count_};
}

std::span<const KeptRecipient> Kept::recipients() const {
    return const_cast<Kept*>(this)->recipients();
}

char* Kept::texts() {
    return reinterpret_cast<char*>(this) + recipients_at + recipient_count_ * sizeof(KeptRecipient);
}

const char* Kept::texts() const {
    return const_cast<Kept*>(this)->texts();
}

std::string_view Kept::reverse_path() const {
    return {texts(), reverse_path_size_};
}

journal::Message Kept::message() const {
    journal::Message message;
    message.arrival_ms = arrival_ms_;
    message.expires_ms = expires_ms_;
    message.mode = static_cast<mail::Mode>(mode_);
    message.body_type = static_cast<mail::BodyType>(body_type_);
    message.ret = static_cast<mail::Returned>(returned_);
    message.smtputf8 = (bits_ & bit_smtputf8) != 0;
    message.trusted = (bits_ & bit_trusted) != 0;
    message.held = (bits_ & bit_held) != 0;
    message.notification = (bits_ & bit_notification) != 0;
    message.has_eight_bit = (bits_ & bit_has_eight_bit) != 0;
    message.has_utf8_header = (bits_ & bit_has_utf8_header) != 0;
    message.has_dot_line = (bits_ & bit_has_dot_line) != 0;
    message.reverse_path = reverse_path();
    message.envid = {texts() + reverse_path_size_, envid_size_};
    message.client = {texts() + reverse_path_size_ + envid_size_, client_size_};
    return message;
}

bool Kept::held() const {
    return (bits_ & bit_held) != 0;
}

void Kept::set_held(bool held) {
    bits_ = static_cast<std::uint8_t>(held ? bits_ | bit_held : bits_ & ~bit_held);
}

bool Kept::busy() const {
    return base::ListLink<ToWrite>::linked() || wants_ != 0 || under_way_ != 0 || loading_ ||
           moving_;
}

std::size_t Kept::octets() const {
    std::size_t octets = recipients_at + recipient_count_ * sizeof(KeptRecipient) +
                         reverse_path_size_ + envid_size_ + client_size_;
    for (const KeptRecipient& recipient : recipients()) {
        octets += recipient.address.size() + recipient.original.size();
    }
    return octets;
}

}  // namespace postern::spool
