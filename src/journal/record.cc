#include "postern/journal/record.h"

#include "octets.h"
#include "postern/base/assert.h"
#include "record_sizes.h"

namespace postern::journal {

std::optional<MessageView> MessageView::of(std::string_view payload) {
    Reader reader{payload};
    MessageView view;
    Message& message = view.message_;
    message.arrival_ms = reader.take<std::int64_t>();
    message.expires_ms = reader.take<std::int64_t>();
    const auto tail_size = reader.take<std::uint64_t>();
    view.recipient_count_ = reader.take<std::uint32_t>();
    view.part_count_ = reader.take<std::uint32_t>();
    const auto recipients_size = reader.take<std::uint32_t>();
    message.mode = reader.take_enum(mail::Mode::queue);
    message.body_type = reader.take_enum(mail::BodyType::eight_bit_mime);
    message.ret = reader.take_enum(mail::Returned::headers);
    reader.good = reader.take<std::uint8_t>() == 0 && reader.good;
    const auto bits = reader.take<std::uint16_t>();
    message.smtputf8 = (bits & bit_smtputf8) != 0;
    message.trusted = (bits & bit_trusted) != 0;
    message.held = (bits & bit_held) != 0;
    message.notification = (bits & bit_notification) != 0;
    message.has_eight_bit = (bits & bit_has_eight_bit) != 0;
    message.has_utf8_header = (bits & bit_has_utf8_header) != 0;
    message.has_dot_line = (bits & bit_has_dot_line) != 0;
    const auto reverse_path_size = reader.take<std::uint16_t>();
    const auto envid_size = reader.take<std::uint16_t>();
    const auto client_size = reader.take<std::uint16_t>();
    message.reverse_path = reader.take_text(reverse_path_size);
    message.envid = reader.take_text(envid_size);
    message.client = reader.take_text(client_size);
    view.recipients_ = reader.take_text(recipients_size);
    view.parts_ = reader.take_text(std::uint64_t{view.part_count_} * part_size);
    view.tail_ = reader.take_text(tail_size);
    if (!reader.good || !reader.left.empty() || bits >= bit_beyond) {
        return std::nullopt;
    }
    std::string_view left = view.recipients_;
    for (std::uint32_t i = 0; i < view.recipient_count_; ++i) {
        if (!next_recipient(left)) {
            return std::nullopt;
        }
    }
    if (!left.empty()) {
        return std::nullopt;
    }
    view.content_size_ = tail_size;
    for (std::uint32_t i = 0; i < view.part_count_; ++i) {
        view.content_size_ += view.part(i).size;
    }
    return view;
}

Part MessageView::part(std::uint32_t number) const {
    POSTERN_ASSERT(number < part_count_, "a part that the message has is asked for");
    Reader reader{parts_.substr(std::size_t{number} * part_size)};
    Part part;
    part.epoch = reader.take<std::uint64_t>();
    part.offset = reader.take<std::uint32_t>();
    part.size = reader.take<std::uint32_t>();
    return part;
}

std::optional<Recipient> MessageView::next_recipient(std::string_view& left) {
    Reader reader{left};
    Recipient recipient;
    recipient.next_try_ms = reader.take<std::int64_t>();
    recipient.attempts = reader.take<std::uint32_t>();
    recipient.notify = reader.take<std::uint8_t>();
    recipient.state = reader.take_enum(State::removed);
    const auto bits = reader.take<std::uint8_t>();
    recipient.delay_told = bits == 1;
    const auto address_size = reader.take<std::uint16_t>();
    const auto original_size = reader.take<std::uint16_t>();
    const auto reply_size = reader.take<std::uint16_t>();
    recipient.address = reader.take_text(address_size);
    recipient.original = reader.take_text(original_size);
    recipient.reply = reader.take_text(reply_size);
    left = reader.left;
    if (!reader.good || bits > 1 || recipient.notify >= notify_beyond) {
        return std::nullopt;
    }
    return recipient;
}

std::optional<ProgressView> ProgressView::of(std::string_view payload) {
    Reader reader{payload};
    ProgressView view;
    view.step_count_ = reader.take<std::uint32_t>();
    const auto held = reader.take<std::uint32_t>();
    view.held_ = held == 1;
    view.steps_ = reader.left;
    std::string_view left = view.steps_;
    for (std::uint32_t i = 0; reader.good && i < view.step_count_; ++i) {
        reader.good = next_step(left).has_value();
    }
    if (!reader.good || held > 1 || !left.empty()) {
        return std::nullopt;
    }
    return view;
}

std::optional<Step> ProgressView::next_step(std::string_view& left) {
    Reader reader{left};
    Step step;
    step.recipient = reader.take<std::uint32_t>();
    step.attempts = reader.take<std::uint32_t>();
    step.next_try_ms = reader.take<std::int64_t>();
    step.state = reader.take_enum(State::removed);
    const auto bits = reader.take<std::uint8_t>();
    step.delay_told = bits == 1;
    const auto reply_size = reader.take<std::uint16_t>();
    step.reply = reader.take_text(reply_size);
    left = reader.left;
    if (!reader.good || bits > 1) {
        return std::nullopt;
    }
    return step;
}

}  // namespace postern::journal
