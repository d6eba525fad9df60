#pragma once

#include <string>

#include "postern/base/list.h"
#include "postern/io/listener.h"
#include "postern/io/stream.h"
#include "postern/io/timer.h"

namespace postern::sim {

/// The smallest whole worker: accepts, greets, reads lines until QUIT, says goodbye. It stands
/// above io's face only, so it runs on either ring. One thread, the ring's.
class Greeter final : public io::ListenerOwner {
   public:
    static constexpr std::string_view greeting = "220 greeter\r\n";
    static constexpr std::string_view goodbye = "221 bye\r\n";
    static constexpr base::Duration patience = std::chrono::seconds(30);

    Greeter(io::Ring& ring, int listener)
        : ring_(ring), timers_(ring.now()), listener_(ring, timers_, *this) {
        listener_.open(listener);
    }

    /// When the next turn must end at the latest.
    base::Instant next() { return timers_.next(); }

    void turn(base::Instant until) {
        ring_.turn(until);
        timers_.run(ring_.now());
    }

    /// No more connections, and the end of those that are here.
    void shut_down() {
        listener_.close();
        for (Session* session = sessions_.front(); session != nullptr;
             session = sessions_.next(*session)) {
            session->stream.close();
        }
    }

    bool over() { return listener_closed_ && sessions_.empty(); }

    unsigned served = 0;     // sessions that ended, however
    unsigned said_quit = 0;  // of them: those whose QUIT was read

   private:
    struct Session final : io::StreamOwner, io::Timer, base::ListLink<Greeter> {
        Session(Greeter& owner, int descriptor)
            : Timer([](Timer& self) { static_cast<Session&>(self).stream.close(); }),
              greeter(owner),
              stream(owner.ring_, *this) {
            greeter.sessions_.push_back(*this);
            stream.adopt(descriptor);
            stream.send(greeting);
            wait();
        }

        void wait() { greeter.timers_.set(*this, greeter.ring_.now() + patience); }

        void on_connected(int) override {}

        void on_received(base::BlockRef, std::string_view bytes, int error) override {
            wait();
            if (error != 0 || bytes.empty()) {
                stream.close();
                return;
            }
            for (const char octet : bytes) {
                line += octet;
                if (octet == '\n') {
                    quit = quit || line == "QUIT\r\n";
                    line.clear();
                }
            }
            if (quit) {
                stream.send(goodbye);
            } else {
                stream.receive(io::BufferGroup::command);
            }
        }

        void on_sent(int error) override {
            if (error != 0) {
                stream.close();
            } else if (quit) {
                stream.end(1000);
            } else {
                stream.receive(io::BufferGroup::command);
            }
        }

        void on_closed() override {
            ++greeter.served;
            greeter.said_quit += quit;
            delete this;
        }

        Greeter& greeter;
        io::Stream stream;
        std::string line;
        bool quit = false;
    };

    void on_accepted(int descriptor) override { new Session(*this, descriptor); }

    void on_accept_paused(int) override {}

    void on_listener_closed() override { listener_closed_ = true; }

    io::Ring& ring_;
    io::Timers timers_;
    io::Listener listener_;
    base::List<Session, Greeter> sessions_;
    bool listener_closed_ = false;
};

}  // namespace postern::sim
