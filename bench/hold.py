#!/usr/bin/python3
"""A relay that holds every byte for so long each way: a smart host far away, on a machine where nothing is far.

usage: bench/hold.py LISTEN_PORT TO_PORT MILLISECONDS
"""

import asyncio
import sys

LOOPBACK = "127.0.0.1"
READ_MAX = 65536


async def one_way(reader, writer, seconds):
    """What is read now is written so much later, in order; the end too."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def pass_on(data):
        if not writer.is_closing():
            writer.write(data)

    def end():
        writer.close()
        ended.set_result(None)

    try:
        while data := await reader.read(READ_MAX):
            loop.call_later(seconds, pass_on, data)
    except ConnectionError:
        pass  # an end like another
    loop.call_later(seconds, end)
    await ended


async def serve(port, to, seconds):
    async def connected(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(one_way(reader, far_writer, seconds), one_way(far_reader, writer, seconds))

    server = await asyncio.start_server(connected, LOOPBACK, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
