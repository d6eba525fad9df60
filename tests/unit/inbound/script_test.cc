#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "postern/base/units.h"
#include "tests/unit/inbound/fake_world.h"

namespace postern::inbound::test {
namespace {

std::string without(std::string text, std::string_view characters) {
    std::erase_if(text, [&](char c) { return characters.find(c) != std::string_view::npos; });
    return text;
}

ListenerSettings settings_of(const smtp::test::Script& script) {
    ListenerSettings settings = Gateway::usual();
    settings.has_passwords = !script.logins.empty();
    for (const auto& [key, value] : script.config) {
        const std::string text = without(value, "\"[]");
        if (key == "limits.message_size") {
            settings.message_size_max = base::parse_size(text).value();
        } else if (key == "limits.recipients") {
            settings.recipients_max = static_cast<std::uint32_t>(std::stoul(text));
        } else if (key == "limits.errors") {
            settings.errors_max = static_cast<std::uint32_t>(std::stoul(text));
        } else if (key == "limits.received_max") {
            settings.received_max = static_cast<std::uint32_t>(std::stoul(text));
        } else if (key == "listener.bare_newline") {
            settings.reject_bare_newline = text == "reject";
        } else if (key == "listener.ehlo_hide") {
            std::string list = without(text, " ");
            for (std::size_t at = 0; at <= list.size();) {
                const std::size_t end = std::min(list.find(',', at), list.size());
                settings.ehlo_hide.push_back(list.substr(at, end - at));
                at = end + 1;
            }
        } else if (key == "listener.xclient_networks") {
            settings.xclient = true;
        } else if (key == "listener.xforward_networks") {
            settings.xforward = true;
        } else {
            ADD_FAILURE() << script.name << ": unknown key " << key;
        }
    }
    return settings;
}

/// A dialogue's client is on loopback.
bool may_introduce(const smtp::test::Script& script) {
    return std::any_of(script.config.begin(), script.config.end(), [](const auto& line) {
        return line.first.ends_with("_networks") && line.second == "[\"127.0.0.1\"]";
    });
}

/// Every dialogue over real sockets, whole and in pieces of all sizes: what differs from the pure
/// session is the corridor's fault.
TEST(scripts, over_loopback) {
    for (const auto& entry : std::filesystem::directory_iterator(SCRIPT_FOLDER)) {
        if (entry.path().extension() != ".smtp") {
            continue;
        }
        std::ifstream file(entry.path());
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        const smtp::test::Script script =
            smtp::test::parse_script(entry.path().filename().string(), text);
        ASSERT_EQ(script.error, "");
        if (script.secure) {
            continue;  // the sender here speaks plain text: tests/system has TLS
        }
        for (std::uint32_t seed = 0; seed < 4; ++seed) {
            std::mt19937 random(seed);
            Gateway gateway(settings_of(script));
            gateway.world.logins = script.logins;
            gateway.world.may_introduce = may_introduce(script);
            if (!script.rules.empty()) {
                gateway.world.rules = script.rules;
            }
            Sender sender(gateway);
            std::string_view left = script.input;
            while (!left.empty()) {
                const std::size_t most = seed == 0             ? left.size()
                                         : left.size() > 20000 ? 20000
                                                               : 8U << (2 * seed);
                const std::string_view piece =
                    left.substr(0, seed == 0 ? most : random() % most + 1);
                sender.send(piece);
                left.remove_prefix(piece.size());
                if (seed > 0) {
                    gateway.turn();
                }
            }
            sender.end_sending();
            std::string output;
            for (std::string reply = sender.reply(); !reply.empty(); reply = sender.reply()) {
                output += reply;
            }
            ASSERT_EQ(
                smtp::test::compare(
                    script, output, sender.closed_by_peer(), gateway.world.messages),
                "")
                << "seed " << seed;
        }
    }
}

}  // namespace
}  // namespace postern::inbound::test
