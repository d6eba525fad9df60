#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "postern/base/assert.h"
#include "src/inbound/proxy_header.h"

namespace postern::inbound {
namespace {

struct Result {
    ProxyHeader::State state = ProxyHeader::State::more;
    std::size_t left = 0;
    base::IpAddress address;
    std::uint16_t port = 0;
    bool operator==(const Result&) const = default;
};

Result run(std::string_view input, std::size_t piece) {
    ProxyHeader header;
    Result result;
    while (result.state == ProxyHeader::State::more && !input.empty()) {
        std::string_view part = input.substr(0, piece);
        const std::size_t before = part.size();
        result.state = header.take(part);
        POSTERN_ASSERT(
            part.empty() || result.state != ProxyHeader::State::more,
            "what belongs to the header is taken");
        input.remove_prefix(before - part.size());
    }
    result.left = input.size();
    if (result.state == ProxyHeader::State::client) {
        result.address = header.address();
        result.port = header.port();
    }
    return result;
}

}  // namespace
}  // namespace postern::inbound

/// A PROXY header means the same however it is cut, and takes no octet from behind its end. The
/// first octet chooses the cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::inbound;
    if (size == 0) {
        return 0;
    }
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    const Result whole = run(input, input.size() + 1);
    POSTERN_ASSERT(whole == run(input, 1), "single octets change nothing");
    POSTERN_ASSERT(whole == run(input, 1 + data[0] % 32), "nor do pieces");
    if (whole.state == ProxyHeader::State::client || whole.state == ProxyHeader::State::local) {
        const Result alone = run(input.substr(0, input.size() - whole.left), input.size() + 1);
        POSTERN_ASSERT(
            alone.state == whole.state && alone.address == whole.address && alone.left == 0,
            "what stands behind it means nothing");
    }
    return 0;
}
