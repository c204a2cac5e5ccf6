#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""delay.py PORT SECONDS: a slow link to that port of this machine. Prints the port that it listens on; what comes in at either side goes out at the
other SECONDS later, however much is under way."""
import asyncio
import sys


async def carry(reader, writer, seconds):
    queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def deliver():
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    out = asyncio.create_task(deliver())
    try:
        while True:
            data = await reader.read(1 << 18)
            await queue.put((loop.time() + seconds, data))
            if not data:
                break
        await out
    except OSError:
        out.cancel()


async def main():
    port, seconds = int(sys.argv[1]), float(sys.argv[2])

    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, far_writer, seconds), carry(far_reader, writer, seconds))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
