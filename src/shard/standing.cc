#include "postern/shard/standing.h"

namespace postern::shard {

void judge(mail::Client& client, const config::Listener& listener, const base::IpAddress& ip) {
    const bool related = listener.relay.networks.contains(ip);
    client.proxy = !client.stated && listener.proxy_networks.contains(ip);
    client.trusted = !client.proxy && !listener.relay.deny.contains(ip) &&
                     (related || listener.trusted || !client.login.empty());
    client.exempt = related || client.proxy;
    client.may_xclient = !client.proxy && listener.xclient_networks.contains(ip);
    client.may_xforward = !client.proxy && listener.xforward_networks.contains(ip);
}

void judge_unknown(mail::Client& client) {
    client.trusted = !client.login.empty();
    client.proxy = client.exempt = false;
    client.may_xclient = client.may_xforward = false;
}

bool copy_introduction(mail::Submission& submission) {
    mail::Client& client = submission.client;
    bool copied = true;
    const auto copy = [&](std::string_view text) {
        const auto own = submission.arena.copy(text);
        copied &= own.has_value();
        return own.value_or(std::string_view());
    };
    if (!client.name.empty()) {
        client.name = copy(client.name);
    }
    if (client.forwarded != nullptr) {
        auto* const own = submission.arena.make<mail::Forwarded>();
        if (own == nullptr) {
            return false;
        }
        const mail::Forwarded& said = *client.forwarded;
        *own = {
            .name = copy(said.name),
            .address = copy(said.address),
            .port = copy(said.port),
            .protocol = copy(said.protocol),
            .helo = copy(said.helo),
            .source = copy(said.source),
            .ident = copy(said.ident)};
        client.forwarded = own;
    }
    return copied;
}

}  // namespace postern::shard
