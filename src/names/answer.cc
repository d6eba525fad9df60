#include "postern/names/answer.h"

#include <algorithm>

#include <fmt/format.h>

namespace postern::names {
namespace {

bool is_us(const Host& host, std::uint16_t port, const Ourselves& ourselves) {
    return std::any_of(
        ourselves.listeners.begin(),
        ourselves.listeners.end(),
        [&](const Ourselves::Listener& listener) {
            return listener.port == port &&
                   (host.name == ourselves.hostname ||
                    std::find(host.addresses.begin(), host.addresses.end(), listener.address) !=
                        host.addresses.end());
        });
}

std::string describe_hosts(const Answer& answer) {
    std::string text;
    for (const Host& host : answer.hosts) {
        for (const base::IpAddress& address : host.addresses) {
            text += fmt::format("{}{}", text.empty() ? "" : ", ", address.text());
        }
    }
    return answer.trouble.empty() ? text
                                  : fmt::format("{} (not renewed: {})", text, answer.trouble);
}

}  // namespace

std::string describe(const Answer& answer) {
    switch (answer.kind) {
        case Answer::Kind::hosts:
            return describe_hosts(answer);
        case Answer::Kind::null_mx:
            return "takes no mail (null MX)";
        case Answer::Kind::no_such_name:
            return "no such name";
        case Answer::Kind::no_addresses:
            return "has no address";
        case Answer::Kind::failed:
            return fmt::format(
                "not resolved: {}", answer.trouble.empty() ? "no answer" : answer.trouble);
        case Answer::Kind::ourselves:
            return "leads to ourselves";
    }
    return {};
}

Answer without_ourselves(const Answer& answer, std::uint16_t port, const Ourselves& ourselves) {
    Answer left = answer;
    std::vector<Host>& hosts = left.hosts;
    const auto us = std::find_if(
        hosts.begin(), hosts.end(), [&](const Host& h) { return is_us(h, port, ourselves); });
    if (us != hosts.end()) {  // the best of ours: they stand by preference
        const std::uint16_t worst = us->preference;
        std::erase_if(hosts, [&](const Host& host) { return host.preference >= worst; });
        if (hosts.empty()) {
            left.kind = Answer::Kind::ourselves;
            left.trouble.clear();
            return left;
        }
    }
    std::erase_if(hosts, [](const Host& host) { return host.addresses.empty(); });
    if (hosts.empty() && left.kind == Answer::Kind::hosts) {
        left.kind = left.trouble.empty() ? Answer::Kind::no_addresses : Answer::Kind::failed;
    }
    return left;
}

}  // namespace postern::names
