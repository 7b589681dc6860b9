// Real agent programs that end in a tool call: each is given the embedded model, a folder with a file, and a request in
// words the model was trained on. The call must really run, and the turn after it must end.
import {spawn} from 'node:child_process';
import {mkdtempSync, mkdirSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

export const request = 'Use bash with command `cat notes.txt`.';
export const secret = 'the kettle is green';

// A folder of its own, home folder included, so that nothing of the user's is read or written.
export function place() {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-agent-'));
  const work = join(folder, 'work');
  mkdirSync(work);
  writeFileSync(join(work, 'notes.txt'), `${secret}\n`);
  return {folder, work};
}

// Runs an agent to its end; its lines of JSON and whatever else it said.
export function run(program, args, {work, folder, env = {}}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {cwd: work, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120000,
      env: {PATH: process.env.PATH, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder, XDG_CACHE_HOME: folder, ...env}});
    let out = '', err = '';
    child.stdout.on('data', data => { out += data; });
    child.stderr.on('data', data => { err += data; });
    child.on('error', reject);
    child.on('close', status => resolve({status, err, lines: out.split('\n').flatMap(line => {
      try { return [JSON.parse(line)]; } catch { return []; }
    })}));
  });
}
