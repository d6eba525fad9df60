#include "postern/journal/batch.h"

#include <algorithm>
#include <cstring>

#include "octets.h"
#include "postern/base/assert.h"
#include "record_sizes.h"
#include "sum.h"

namespace postern::journal {
namespace {

/// A payload while it is written: what has been copied is summed up before it leaves the cache.
/// Small ones in one go, which is what XXH3 is quickest at.
class Summed {
   public:
    explicit Summed(char* at) : writer_{at}, begin_(at) {}

    Writer& writer() { return writer_; }

    void copy(Content& content, std::uint64_t size) {
        while (size > 0) {
            const std::string_view run = content.take(std::min<std::uint64_t>(size, stride));
            POSTERN_ASSERT(!run.empty(), "content has as many octets as it says");
            writer_.put_text(run);
            size -= run.size();
            if (static_cast<std::size_t>(writer_.at - begin_) >= stride) {
                sum_up();
            }
        }
    }

    std::uint64_t sum() {
        if (!begun_) {
            return sum_of({begin_, static_cast<std::size_t>(writer_.at - begin_)});
        }
        sum_up();
        return XXH3_64bits_digest(&state_);
    }

   private:
    static constexpr std::size_t stride = 16384;  // half of a common first-level cache

    void sum_up() {
        if (!begun_) {
            XXH3_64bits_reset(&state_);
            begun_ = true;
        }
        XXH3_64bits_update(&state_, begin_, static_cast<std::size_t>(writer_.at - begin_));
        begin_ = writer_.at;
    }

    Writer writer_;
    char* begin_;  // of what is not summed up yet
    bool begun_ = false;
    XXH3_state_t state_;
};

std::uint16_t size_of(std::string_view text) {
    POSTERN_ASSERT(text.size() <= text_max, "a text of a record can be kept");
    return static_cast<std::uint16_t>(text.size());
}

std::size_t size_of(std::span<const Recipient> recipients) {
    std::size_t size = 0;
    for (const Recipient& recipient : recipients) {
        size += recipient_fixed_size + recipient.address.size() + recipient.original.size() +
                recipient.reply.size();
    }
    return size;
}

void put(Writer& writer, const Recipient& recipient) {
    writer.put(recipient.next_try_ms);
    writer.put(recipient.attempts);
    writer.put(recipient.notify);
    writer.put(recipient.state);
    writer.put(std::uint8_t{recipient.delay_told});
    writer.put(size_of(recipient.address));
    writer.put(size_of(recipient.original));
    writer.put(size_of(recipient.reply));
    writer.put_text(recipient.address);
    writer.put_text(recipient.original);
    writer.put_text(recipient.reply);
}

}  // namespace

std::string_view Content::take(std::uint64_t size_max) {
    if (run_.empty() && left_ > 0) {
        POSTERN_ASSERT(at_.slice() != nullptr, "content has as many octets as it says");
        run_ = at_.slice()->view();
        at_.advance();
    }
    const std::string_view taken =
        run_.substr(0, std::min({size_max, left_, std::uint64_t{run_.size()}}));
    run_.remove_prefix(taken.size());
    left_ -= taken.size();
    return taken;
}

void Batch::begin(std::span<char> buffer, const Place& place) {
    POSTERN_ASSERT(
        buffer.size() % block_size == 0 && place.offset % block_size == 0 &&
            place.offset >= block_size,
        "a write is of whole blocks, behind the header");
    POSTERN_ASSERT(place.epoch != 0 && place.write != 0, "a write has an epoch and a number");
    buffer_ = buffer;
    place_ = place;
    used_ = 0;
}

bool Batch::fits(std::uint64_t payload_size) const {
    const std::size_t left = buffer_.size() - used_;
    return left >= RecordHeader::size_octets && payload_size <= left - RecordHeader::size_octets;
}

std::size_t Batch::message_size(
    const Message& message,
    std::span<const Recipient> recipients,
    std::span<const Part> parts,
    std::uint64_t content_size) {
    return message_fixed_size + message.reverse_path.size() + message.envid.size() +
           message.client.size() + size_of(recipients) + parts.size() * part_size + content_size;
}

std::optional<Extent> Batch::message(
    const Id& id,
    std::uint32_t revision,
    const Message& message,
    std::span<const Recipient> recipients,
    std::span<const Part> parts,
    Content& content) {
    const std::size_t size = message_size(message, recipients, parts, content.left());
    if (!fits(size)) {
        return std::nullopt;
    }
    Summed payload(buffer_.data() + used_ + RecordHeader::size_octets);
    Writer& writer = payload.writer();
    writer.put(message.arrival_ms);
    writer.put(message.expires_ms);
    writer.put(content.left());
    writer.put(static_cast<std::uint32_t>(recipients.size()));
    writer.put(static_cast<std::uint32_t>(parts.size()));
    writer.put(static_cast<std::uint32_t>(size_of(recipients)));
    writer.put(message.mode);
    writer.put(message.body_type);
    writer.put(message.ret);
    writer.put(std::uint8_t{0});
    writer.put(static_cast<std::uint16_t>(
        (message.smtputf8 ? bit_smtputf8 : 0) | (message.trusted ? bit_trusted : 0) |
        (message.held ? bit_held : 0) | (message.notification ? bit_notification : 0) |
        (message.has_eight_bit ? bit_has_eight_bit : 0) |
        (message.has_utf8_header ? bit_has_utf8_header : 0) |
        (message.has_dot_line ? bit_has_dot_line : 0)));
    writer.put(size_of(message.reverse_path));
    writer.put(size_of(message.envid));
    writer.put(size_of(message.client));
    writer.put_text(message.reverse_path);
    writer.put_text(message.envid);
    writer.put_text(message.client);
    for (const Recipient& recipient : recipients) {
        put(writer, recipient);
    }
    for (const Part& part : parts) {
        writer.put(part.epoch);
        writer.put(part.offset);
        writer.put(part.size);
    }
    payload.copy(content, content.left());
    return finish(Type::message, id, revision, static_cast<std::uint32_t>(size), payload.sum());
}

std::uint32_t Batch::part(const Id& id, Content& content, Extent& at, std::size_t size_max) {
    const auto size = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::min(room(), size_max), content.left()));
    if (size == 0) {
        return 0;
    }
    Summed payload(buffer_.data() + used_ + RecordHeader::size_octets);
    payload.copy(content, size);
    at = finish(Type::part, id, 0, size, payload.sum());
    return size;
}

std::optional<Extent> Batch::progress(
    const Id& id, std::uint32_t revision, bool held, std::span<const Step> steps) {
    std::size_t size = progress_fixed_size;
    for (const Step& step : steps) {
        size += step_fixed_size + step.reply.size();
    }
    if (!fits(size)) {
        return std::nullopt;
    }
    Summed payload(buffer_.data() + used_ + RecordHeader::size_octets);
    Writer& writer = payload.writer();
    writer.put(static_cast<std::uint32_t>(steps.size()));
    writer.put(std::uint32_t{held});
    for (const Step& step : steps) {
        writer.put(step.recipient);
        writer.put(step.attempts);
        writer.put(step.next_try_ms);
        writer.put(step.state);
        writer.put(std::uint8_t{step.delay_told});
        writer.put(size_of(step.reply));
        writer.put_text(step.reply);
    }
    return finish(Type::progress, id, revision, static_cast<std::uint32_t>(size), payload.sum());
}

std::optional<Extent> Batch::done(const Id& id, std::uint32_t revision) {
    if (!fits(0)) {
        return std::nullopt;
    }
    return finish(Type::done, id, revision, 0, sum_of({}));
}

/// The payload stands already; its header is put in front, and zeros up to a multiple of 8 behind.
Extent Batch::finish(
    Type type,
    const Id& id,
    std::uint32_t revision,
    std::uint32_t size,
    std::uint64_t payload_check) {
    last_ = used_;
    last_header_ = {
        .epoch = place_.epoch,
        .id = id,
        .size = size,
        .write = place_.write,
        .revision = revision,
        .type = static_cast<std::uint8_t>(type),
        .payload_check = payload_check,
    };
    const Extent extent{
        place_.offset + static_cast<std::uint32_t>(used_), RecordHeader::size_octets + size};
    write_record_header(last_header_, place_.host, extent.offset, buffer_.data() + used_);
    const std::size_t end = used_ + extent.size;
    used_ = (end + 7) / 8 * 8;
    std::memset(buffer_.data() + end, 0, used_ - end);
    return extent;
}

std::span<const char> Batch::seal() {
    POSTERN_ASSERT(!empty(), "a write holds something");
    last_header_.ends_write = true;
    write_record_header(
        last_header_,
        place_.host,
        place_.offset + static_cast<std::uint32_t>(last_),
        buffer_.data() + last_);
    const std::size_t end = size();
    std::memset(buffer_.data() + used_, 0, end - used_);
    used_ = end;
    return buffer_.first(end);
}

}  // namespace postern::journal
