// The client that openapi-generator makes for TypeScript's fetch, with all its defaults, against a running server.

import { BytesApi, BytesPutSourceEnum, Code, Configuration, ControlApi, EnvelopeFromJSON, EventDataFromJSON, EventsApi, ResponseError } from './client';

// What node gives, where no types of it are installed.
declare const process: { env: { [name: string]: string }; exit(code: number): never };

const xHarborSession = 'openapi-generator-typescript';
const configuration = new Configuration({ basePath: process.env.HARBOR_URL, accessToken: process.env.HARBOR_TOKEN });
const plane = new BytesApi(configuration);
const control = new ControlApi(configuration);
const events = new EventsApi(configuration);

function check(holds: boolean, about: unknown): asserts holds {
    if (!holds) throw new Error(`not as it should be: ${JSON.stringify(about)}`);
}

/** The code of a refusal. */
async function code(call: Promise<unknown>): Promise<Code> {
    try {
        await call;
    } catch (failed) {
        if (failed instanceof ResponseError) return EnvelopeFromJSON(await failed.response.json()).code;
        throw failed;
    }
    throw new Error('it was not refused');
}

/** The `data` of the first event of this type. */
async function event(stream: Response, type: string): Promise<any> {
    const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
    let read = '';
    for (;;) {
        const { done, value } = await reader.read();
        check(!done, 'the stream ended');
        read += value;
        const whole = read.split('\n\n').slice(0, -1).map((frame) => frame.split('\n'));
        const frame = whole.find((lines) => lines.includes(`event: ${type}`));
        const data = frame?.find((line) => line.startsWith('data: '));
        if (data) {
            await reader.cancel();
            return JSON.parse(data.slice(6));
        }
    }
}

async function main() {
    const bytes = new Uint8Array(300 * 1024);
    for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    const same = async (blob: Blob, expected: Uint8Array) => {
        const got = new Uint8Array(await blob.arrayBuffer());
        return got.length === expected.length && got.every((byte, at) => byte === expected[at]);
    };

    // The call that does not read the answer first: a stream has no end.
    const stream = await events.eventsSubscribeRaw({ xHarborEventType: 'artifacts.uploaded', xHarborSession });

    // Without the override the media type is the one of the document.
    const put = await plane.bytesPut(
        { body: new Blob([bytes]), filename: 'weights ü.bin', tag: ['a', 'b'], source: BytesPutSourceEnum.Tool, xHarborSession },
        async ({ init }) => ({ headers: { ...init.headers, 'Content-Type': 'application/x-weights' } }),
    );
    check(put.ref.sizeBytes === bytes.length && put.ref.filename === 'weights ü.bin', put);
    check(put.ref.mimeType === 'application/x-weights', put);
    const id = put.ref.id;

    const told = EventDataFromJSON(await event(stream.raw, 'artifacts.uploaded'));
    check((told.payload as any).ref.id === id, told);

    check(await same(await plane.bytesGet({ id, xHarborSession }), bytes), 'the whole');
    const part = await plane.bytesGetRaw({ id, range: 'bytes=1000-299999', xHarborSession });
    check(part.raw.status === 206 && (await same(await part.value(), bytes.subarray(1000, 300000))), 'the range');

    const listed = await control.artifactsList({ listRequest: { tags: ['b'] }, xHarborSession });
    check(listed.totalMatched === 1 && listed.rows[0].ref.id === id, listed);

    check((await code(plane.bytesGet({ id: 'default_00000000000000000000000000000000', xHarborSession }))) === Code.NotFound, 'not_found');
    console.log('openapi-generator, typescript-fetch: put, get, range, list, a refusal and an event are as they should be');
}

main().catch((failed) => {
    console.error(failed);
    process.exit(1);
});
