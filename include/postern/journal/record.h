#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "postern/journal/format.h"
#include "postern/mail/envelope.h"
#include "postern/mail/mode.h"

/// What records say, as values. Text is viewed, never owned. Pure; any thread.
namespace postern::journal {

/// Of one recipient. All but `waiting` are final.
enum class State : std::uint8_t {
    waiting,    // to be tried at next_try_ms
    delivered,  // a smart host said 2xx
    refused,    // a smart host said 5xx
    expired,    // it waited too long
    removed,    // an operator took it out
};

/// A message but for its recipients and content.
struct Message {
    std::int64_t arrival_ms = 0;           // wall clock
    std::int64_t expires_ms = 0;           // wall clock; 0: as retry.expire in force says
    mail::Mode mode = mail::Mode::hybrid;  // decided when it was accepted
    mail::BodyType body_type = mail::BodyType::unstated;
    mail::Returned ret = mail::Returned::unstated;
    bool smtputf8 = false;
    bool trusted = false;          // its client was
    bool held = false;             // by an operator: not tried
    bool notification = false;     // made here
    bool has_eight_bit = false;    // as in mail::Submission
    bool has_utf8_header = false;  // as in mail::Submission
    bool has_dot_line = false;     // some line of the content begins with a dot
    std::string_view reverse_path;
    std::string_view envid;   // ENVID=, as it came
    std::string_view client;  // its address, for the log
};

/// One recipient, with all that is known of it.
struct Recipient {
    std::string_view address;   // as accepted
    std::string_view original;  // ORCPT=, as it came
    std::string_view reply;     // the last that was said of it, "450 4.2.1 ..."
    std::int64_t next_try_ms = 0;
    std::uint32_t attempts = 0;
    mail::NotifySet notify = 0;
    State state = State::waiting;
    bool delay_told = false;  // the sender knows that it waits; of one that was removed: knows
                              // that, or is not to
};

/// What is new of one recipient.
struct Step {
    std::uint32_t recipient = 0;  // its number in the message
    std::uint32_t attempts = 0;
    std::int64_t next_try_ms = 0;
    State state = State::waiting;
    bool delay_told = false;
    std::string_view reply;
};

/// A piece of a body in a part record. The content is all parts, then what the message record
/// holds.
struct Part {
    std::uint64_t epoch = 0;   // of its segment's life
    std::uint32_t offset = 0;  // of its record's header
    std::uint32_t size = 0;    // octets of content
    bool operator==(const Part&) const = default;
};

/// The longest text of a record but content, octets.
constexpr std::size_t text_max = 65535;

/// A message record's payload, checked as a whole when it is made; views into it.
class MessageView {
   public:
    /// nullopt: this is no payload of a message record.
    static std::optional<MessageView> of(std::string_view payload);

    const Message& message() const { return message_; }

    std::uint32_t recipient_count() const { return recipient_count_; }

    std::uint32_t part_count() const { return part_count_; }

    /// Octets of content, parts included.
    std::uint64_t content_size() const { return content_size_; }

    /// The content behind the parts.
    std::string_view tail() const { return tail_; }

    Part part(std::uint32_t number) const;

    /// Calls `each(const Recipient&)` for all, in order.
    template <class Each>
    void recipients(Each each) const {
        std::string_view left = recipients_;
        for (std::uint32_t i = 0; i < recipient_count_; ++i) {
            each(*next_recipient(left));
        }
    }

   private:
    static std::optional<Recipient> next_recipient(std::string_view& left);

    Message message_;
    std::uint32_t recipient_count_ = 0;
    std::uint32_t part_count_ = 0;
    std::uint64_t content_size_ = 0;
    std::string_view recipients_;
    std::string_view parts_;
    std::string_view tail_;
};

/// A progress record's payload; as MessageView.
class ProgressView {
   public:
    static std::optional<ProgressView> of(std::string_view payload);

    bool held() const { return held_; }

    std::uint32_t step_count() const { return step_count_; }

    /// Calls `each(const Step&)` for all, in order.
    template <class Each>
    void steps(Each each) const {
        std::string_view left = steps_;
        for (std::uint32_t i = 0; i < step_count_; ++i) {
            each(*next_step(left));
        }
    }

   private:
    static std::optional<Step> next_step(std::string_view& left);

    bool held_ = false;
    std::uint32_t step_count_ = 0;
    std::string_view steps_;
};

}  // namespace postern::journal
