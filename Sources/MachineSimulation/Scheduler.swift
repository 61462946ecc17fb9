public import MachineEvents

/// Runs several bodies, processors, host and VMM, as if in parallel, but one thread at a time, and
/// decides at each interleaving point who goes on.
///
///     let scheduler = Scheduler(.seeded(7))
///     watch.interleaver = scheduler.interleaver      // before the machine is made
///     let history = scheduler.run([{ … }, { … }])
///
/// Each body has a real thread; a baton passes among them. So the code that runs is the code that
/// real threads run, on stacks of its own. Outside `run` a point lets nobody in but mischief.
///
/// **When nobody gets anywhere** the run returns all the same, with who waits where. The threads of
/// the bodies then stay where they are for ever, with everything that their bodies hold: nothing
/// can be taken out of a function half done. Whatever must not be destroyed under them, above all
/// the machine, has to be held by the bodies through a reference, and is then leaked on purpose;
/// the caller does not use it again.
@safe public final class Scheduler: @unchecked Sendable {
  // Sendable: what changes is touched only by whoever has the baton, or by the caller of `run`
  // while nobody has it.

  /// How far a run may go.
  public struct Limits: Hashable, Sendable {
    /// How often everybody may look once more when all wait.
    public var quietRounds = 16
    /// The most decisions of one run.
    public var decisions = 1 << 20
    /// 16 rounds and a million decisions.
    public init() {}
  }

  /// Who decides in the runs to come.
  public var policy: SchedulePolicy
  /// How far a run may go.
  public var limits: Limits

  /// Who does mischief at the points, in runs and outside them.
  public var mischief: Mischief?

  private var turns: SchedulerTurns?
  private var workers: [SchedulerWorker] = []
  private let done = Baton()

  /// A scheduler that has run nothing yet.
  public init(_ policy: SchedulePolicy, limits: Limits = Limits()) {
    self.policy = policy
    self.limits = limits
  }

  deinit {
    for worker in workers { worker.dismiss() }
  }

  /// What a machine calls at its interleaving points; the scheduler must outlive the machine.
  public var interleaver: Interleaver {
    // SAFETY: the caller keeps the scheduler as long as the machine.
    unsafe Interleaver(
      context: Unmanaged.passUnretained(self).toOpaque(),
      hook: { (context, point, number) in
        guard let point = InterleavingPoint(rawValue: point) else { return }
        // SAFETY: the context is the scheduler, which outlives the machine.
        unsafe Unmanaged<Scheduler>.fromOpaque(context).takeUnretainedValue()
          .reached(point, number)
      },
      loss: { (context, point, number) in
        guard let point = InterleavingPoint(rawValue: point) else { return false }
        // SAFETY: the context is the scheduler, which outlives the machine.
        return unsafe Unmanaged<Scheduler>.fromOpaque(context).takeUnretainedValue()
          .loses(point, number)
      })
  }

  /// Which body runs; `nil` outside `run`.
  public var runningActor: Int? { turns?.current }

  /// Runs bodies, numbered from 0, until all have returned, or none gets anywhere any more.
  ///
  /// At most 64; they run on threads of their own, never two at a time.
  public func run(_ bodies: [() -> Void]) -> ScheduleHistory {
    precondition(1...64 ~= bodies.count, "a run has 1 to 64 bodies")
    precondition(turns == nil, "a scheduler runs one run at a time")
    while workers.count < bodies.count { workers.append(SchedulerWorker()) }
    turns = SchedulerTurns(policy, actors: bodies.count, limits: limits)
    for (index, body) in bodies.enumerated() {
      workers[index].take(SchedulerWorker.Job(body: body, ended: { self.ended() }))
    }
    baton(of: turns?.begin()).pass()
    done.wait()
    guard let history = turns?.history else { preconditionFailure("a run has a history") }
    turns = nil
    if history.outcome != .ended {
      // The threads sleep for ever in the hook; they keep what they stand on.
      for worker in workers.prefix(bodies.count) {
        // SAFETY: the reference is never taken back, which leaks the worker on purpose.
        unsafe _ = Unmanaged.passRetained(worker)
      }
      // SAFETY: the same of the scheduler, in which they sleep.
      unsafe _ = Unmanaged.passRetained(self)
      workers.removeFirst(bodies.count)
    }
    return history
  }

  private func baton(of actor: Int?) -> Baton { actor.map { workers[$0].baton } ?? done }

  // MARK: Mischief

  /// Whoever runs begins a step, with a processor of its own or none; mischief may come before it.
  public func beginStep(of processor: Int?) {
    mischief?.beginStep(of: processor, by: turns?.current)
  }

  /// The step that whoever runs has begun is over.
  public func endStep() { mischief?.endStep(by: turns?.current) }

  private func loses(_ point: InterleavingPoint, _ number: UInt64) -> Bool {
    mischief?.loses(point, number, by: turns?.current) ?? false
  }

  // MARK: Turns

  private func reached(_ point: InterleavingPoint, _ number: UInt64) {
    mischief?.reached(point, number, by: turns?.current)
    guard let actor = turns?.current else { return }
    let mine = workers[actor].baton
    let next = turns?.reached(point, number)
    guard next != actor else { return }
    baton(of: next).pass()
    mine.wait()
  }

  private func ended() -> Baton { baton(of: turns?.ended()) }
}
