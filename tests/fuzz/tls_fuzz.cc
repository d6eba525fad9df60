#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "postern/base/assert.h"
#include "postern/tls/session.h"
#include "tests/unit/tls/forger.h"

namespace postern::tls {
namespace {

// For this test alone.
constexpr std::string_view chain = R"(-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUReRL8gTp4hlpSdaFmGhXwvS/Pm0wCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHZ3cudGVzdDAgFw0yNjExMjUyMTEwNTJaGA8yMTI2MTEwMTIx
MTA1MlowEjEQMA4GA1UEAwwHZ3cudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABMAFxCU8c7Gh3HdMZsihKR7eRguCgARz6hbU55lwBi7FM1SkZuHQMqnsm2Dp
8+A3NMgJakPFhmpMX/+jrc7dxWWjZzBlMB0GA1UdDgQWBBQ/4Rbdm2jItfCtxVAZ
xAXu5ZQ9hTAfBgNVHSMEGDAWgBQ/4Rbdm2jItfCtxVAZxAXu5ZQ9hTAPBgNVHRMB
Af8EBTADAQH/MBIGA1UdEQQLMAmCB2d3LnRlc3QwCgYIKoZIzj0EAwIDSAAwRQIh
AMbGY/9CDxux0i1i0EGJ9xUobQAhfhfBUcsJYfIQ3LqaAiAqJjsAb6ybr9qBn6Pu
121c/lC5+1VcZ02IF9xjglQG/Q==
-----END CERTIFICATE-----
)";
constexpr std::string_view key = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrHG2WUpEn9M5bI5Y
EJ0ofLSSuIMSXB3BYRiSbzGVR6+hRANCAATABcQlPHOxodx3TGbIoSke3kYLgoAE
c+oW1OeZcAYuxTNUpGbh0DKp7Jtg6fPgNzTICWpDxYZqTF//o63O3cVl
-----END PRIVATE KEY-----
)";

/// A file with that content, for as long as it is wanted.
class File {
   public:
    explicit File(std::string_view content) {
        const int descriptor = ::mkstemp(name.data());
        POSTERN_ASSERT(
            descriptor >= 0 && ::write(descriptor, content.data(), content.size()) ==
                                   static_cast<ssize_t>(content.size()),
            "a file can be written");
        ::close(descriptor);
    }

    ~File() { ::unlink(name.c_str()); }

    File(const File&) = delete;
    File& operator=(const File&) = delete;

    std::string name = "/tmp/tls_fuzz_XXXXXX";
};

/// What all sessions are made from.
struct Contexts {
    Contexts() {
        const File chain_file(chain);
        const File key_file(key);
        auto pair = KeyPair::load(chain_file.name, key_file.name);
        POSTERN_ASSERT(pair.ok(), "the key pair is good");
        server = std::move(*ServerContext::create(library, tickets, {{*pair}}));
        client = std::move(*ClientContext::create(library, {}));
    }

    static constexpr std::array<std::byte, TicketKeys::secret_octets> secret{};
    Library library;
    TicketKeys tickets{TicketKeys::Secret(secret)};
    std::unique_ptr<const ServerContext> server;
    std::unique_ptr<const ClientContext> client;
};

const Contexts& contexts() {
    static const Contexts made;
    return made;
}

/// One end of a connection.
struct End {
    explicit End(const ServerContext& context) : session(context) {}

    explicit End(const ClientContext& context) : session(context, {"gw.test", "", nullptr}) {}

    /// Takes what has come, as far as it goes.
    void hear(std::string_view octets) {
        // Of just the right size, so that reading past it is seen.
        const std::vector<char> input(octets.begin(), octets.end());
        std::array<char, 2048> room{};
        Wire wire{{input.data(), input.size()}, room};
        while (!over) {
            wire.output = room;
            std::size_t count = 0;
            std::array<char, 512> plain{};
            const Status status =
                session.established() ? session.read(wire, plain, count) : session.handshake(wire);
            said.append(room.data(), room.size() - wire.output.size());
            heard.append(plain.data(), count);
            over = status == Status::failed || status == Status::ended;
            failed = failed || status == Status::failed;
            POSTERN_ASSERT(!failed || !session.failure().empty(), "a session that failed says why");
            if (status == Status::input) {
                POSTERN_ASSERT(wire.input.empty(), "what is not taken is not waited for");
                return;
            }
        }
    }

    void hear_in_pieces(std::string_view octets, std::size_t piece) {
        for (; !octets.empty(); octets.remove_prefix(std::min(piece, octets.size()))) {
            hear(octets.substr(0, piece));
        }
    }

    std::string encrypt(std::string_view plain) {
        std::string wire_octets;
        std::array<char, 1024> room{};
        for (Status status = Status::room; status == Status::room;) {
            Wire wire{{}, room};
            status = session.write(wire, plain);
            POSTERN_ASSERT(status != Status::failed, "what is established can be written to");
            wire_octets.append(room.data(), room.size() - wire.output.size());
        }
        return wire_octets;
    }

    std::string taken_from_said() { return std::exchange(said, {}); }

    Session session;
    std::string said;   // on the wire
    std::string heard;  // in plain text
    bool over = false;
    bool failed = false;
};

/// Strangers' records to an end of ours: it goes as far whichever way they are cut, and what it
/// makes of them is nothing, since nobody has its keys.
template <class Context>
void check_strange(const Context& context, std::string_view input, std::size_t piece) {
    End whole(context);
    whole.hear(input);
    End cut(context);
    cut.hear_in_pieces(input, piece);
    POSTERN_ASSERT(
        whole.over == cut.over && whole.failed == cut.failed &&
            whole.session.established() == cut.session.established(),
        "records are records however they are cut");
    POSTERN_ASSERT(whole.heard.empty() && cut.heard.empty(), "nobody spoke");
}

/// Our own two ends, and `input` between them: cut, and with an octet of the wire changed where
/// `harm` says so.
void check_own(std::string_view input, std::size_t piece, bool harm, std::uint8_t change) {
    End client(*contexts().client);
    End server(*contexts().server);
    client.hear({});
    for (int round = 0; round < 4 && !server.session.established(); ++round) {
        server.hear_in_pieces(client.taken_from_said(), piece);
        client.hear_in_pieces(server.taken_from_said(), piece);
    }
    POSTERN_ASSERT(
        server.session.established() && client.session.established(), "both ends come together");
    std::string wire = client.encrypt(input);
    if (harm && !wire.empty()) {
        wire[change * wire.size() / 256] ^= static_cast<char>(change | 1);
    }
    server.hear_in_pieces(wire, piece);
    if (harm) {
        POSTERN_ASSERT(input.starts_with(server.heard), "what was changed is not believed");
        POSTERN_ASSERT(
            server.failed || server.heard.size() < input.size() || input.empty(),
            "what was changed is seen");
    } else {
        POSTERN_ASSERT(server.heard == input && !server.over, "what is said is heard");
    }
}

/// Of what nobody with keys has said, no more is said back than an alert.
constexpr std::size_t alert_octets_max = 5 + 2 + 1 + 16;

/// Strangers' octets in the middle of a handshake, and between two records of one that is done.
void check_injected(std::string_view input, std::size_t piece, bool done) {
    End client(*contexts().client);
    End server(*contexts().server);
    client.hear({});
    server.hear(client.taken_from_said());
    if (!done) {
        server.taken_from_said();
        server.hear_in_pieces(input, piece);
        POSTERN_ASSERT(
            !server.session.established() && server.heard.empty(), "nobody has finished");
        POSTERN_ASSERT(server.said.size() <= alert_octets_max, "little is said to strangers");
        return;
    }
    client.hear(server.taken_from_said());
    server.hear(client.taken_from_said());
    POSTERN_ASSERT(server.session.established(), "both ends come together");
    server.taken_from_said();
    server.hear(client.encrypt("before"));
    server.hear_in_pieces(input, piece);
    server.hear(client.encrypt("behind"));
    POSTERN_ASSERT(
        server.heard == (input.empty() ? "beforebehind" : "before"), "nobody else is heard");
    POSTERN_ASSERT(server.said.size() <= alert_octets_max, "little is said to strangers");
}

/// Records of a client that has the keys, whatever they hold: their kind, their size and so many
/// octets, one after the other. Heard is what was sent as data, to where it is over.
void check_forged(std::string_view input, std::size_t piece) {
    test::Forger forger(*contexts().server);
    std::string sent;
    std::string records;
    while (input.size() >= 2) {
        const char kind = input[0];
        const std::string_view plain = input.substr(2, static_cast<unsigned char>(input[1]));
        input.remove_prefix(2 + plain.size());
        const bool updates = kind == '\x16' && plain.size() == 5 && plain[0] == '\x18';
        records += updates ? forger.updated(plain)
                           : forger.record(static_cast<test::Content>(kind), plain);
        // Zeroes behind the kind are padding: with them, what stands before is the kind.
        std::string inner = std::string(plain) + kind;
        inner.resize(inner.find_last_not_of('\0') + 1);
        if (inner.ends_with('\x17')) {
            sent += inner.substr(0, inner.size() - 1);
        }
    }
    std::string heard;
    std::size_t said = 0;
    Status status = Status::input;
    for (std::string_view rest = records; !rest.empty() && status == Status::input;) {
        std::array<char, 2048> room{};
        Wire wire{rest.substr(0, piece), room};
        rest.remove_prefix(wire.input.size());
        do {
            std::array<char, 512> plain{};
            std::size_t count = 0;
            wire.output = room;
            status = forger.session.read(wire, plain, count);
            said += room.size() - wire.output.size();
            heard.append(plain.data(), count);
        } while (status == Status::done || status == Status::room);
        POSTERN_ASSERT(
            status != Status::input || wire.input.empty(), "what is not taken is not waited for");
    }
    POSTERN_ASSERT(sent.starts_with(heard), "what is heard was sent, as text");
    POSTERN_ASSERT(said <= 66 * (5 + 5 + 1 + 16), "so many new keys are answered, and no more");
}

}  // namespace
}  // namespace postern::tls

/// The first octet chooses who hears what follows, the second how it is cut, the third what is
/// changed on the way.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::tls;
    if (size < 3) {
        return 0;
    }
    const std::string_view input(reinterpret_cast<const char*>(data) + 3, size - 3);
    const std::size_t piece = 1 + data[1];
    switch (data[0] % 8) {
        case 0:
            check_strange(*contexts().server, input, piece);
            break;
        case 1:
            check_strange(*contexts().client, input, piece);
            break;
        case 2:
            check_own(input, piece, false, 0);
            break;
        case 3:
            check_own(input, piece, true, data[2]);
            break;
        case 4:
        case 5:
            check_injected(input, piece, data[0] % 8 == 5);
            break;
        default:
            check_forged(input, piece);
            break;
    }
    return 0;
}
