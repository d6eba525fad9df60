#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "postern/base/assert.h"
#include "tests/unit/journal/spooled.h"

namespace postern::journal {
namespace {

/// Numbers from the input; zeros behind its end.
struct Input {
    const std::uint8_t* at;
    const std::uint8_t* end;

    bool empty() const { return at == end; }

    std::uint32_t number() {
        std::uint32_t value = 0;
        for (int i = 0; i < 2; ++i) {
            value = value << 8 | (empty() ? 0U : *at++);
        }
        return value;
    }
};

/// Payloads as they come, and a segment in which the input is what follows the header.
void read_raw(const std::string& input) {
    if (const auto view = MessageView::of(input)) {
        std::size_t octets = view->tail().size();
        view->recipients([&](const Recipient& recipient) { octets += recipient.address.size(); });
        POSTERN_ASSERT(octets <= input.size(), "a message is no larger than its payload");
    }
    if (const auto view = ProgressView::of(input)) {
        std::size_t octets = 0;
        view->steps([&](const Step& step) { octets += step.reply.size(); });
        POSTERN_ASSERT(octets <= input.size(), "progress is no larger than its payload");
    }
    test::SegmentFile file(0);
    std::copy_n(
        input.begin(),
        std::min(input.size(), file.octets.size() - block_size),
        file.octets.begin() + block_size);
    const auto recovered = test::recover({file.octets, input});
    POSTERN_ASSERT(recovered.messages.empty(), "nobody makes a message who does not know the host");
}

}  // namespace
}  // namespace postern::journal

/// An even first octet: the rest is read as it is. An odd one: the rest says what a spool does, and
/// then where octets of its last write, or with another bit of any file, are changed.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::journal;
    if (size == 0) {
        return 0;
    }
    if ((data[0] & 1) == 0) {
        read_raw({reinterpret_cast<const char*>(data) + 1, size - 1});
        return 0;
    }
    const bool damaged = (data[0] & 2) != 0;
    Input input{data + 1, data + size};
    test::Spooled spooled(
        [&input](std::uint32_t below) { return below == 0 ? 0 : input.number() % below; });
    for (std::uint32_t steps = input.number() % 64; steps > 0; --steps) {
        spooled.step();
        if (input.number() % 4 == 0) {
            spooled.acknowledge();
        }
    }
    spooled.acknowledge();
    spooled.step();
    spooled.step();
    spooled.write_only();
    std::vector<std::string> files = spooled.files();
    while (!input.empty()) {
        std::string& file = damaged ? files[input.number() % files.size()] : files.back();
        const std::uint32_t from = damaged ? 0 : spooled.current().last_from;
        const auto to =
            damaged ? static_cast<std::uint32_t>(file.size()) : spooled.current().last_to;
        if (from == to) {
            break;
        }
        file[from + input.number() % (to - from)] = static_cast<char>(input.number());
    }
    const std::string wrong = spooled.check(test::recover(files), files, damaged);
    POSTERN_ASSERT(wrong.empty(), wrong.c_str());
    return 0;
}
