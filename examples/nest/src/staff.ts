import { createHash } from 'node:crypto'
import {
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  UnauthorizedException,
} from '@nestjs/common'
import { withAudit } from 'mongoose-kms-encrypted'
import type { Observable } from 'rxjs'

/** Takes whoever has a token of STAFF: `{ "<SHA-256 of a token, in hex>": "<name>" }`. */
@Injectable()
export class StaffGuard implements CanActivate {
  readonly #names = new Map<string, string>(Object.entries(JSON.parse(process.env.STAFF ?? '{}')))

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest()
    const token = /^Bearer (.+)$/.exec(request.get('authorization') ?? '')?.[1] ?? ''
    request.staff = this.#names.get(createHash('sha256').update(token).digest('hex'))
    if (!request.staff) throw new UnauthorizedException()
    return true
  }
}

/** Tells KMS and log for whom records are opened. Interceptors come after guards, where it is known; middleware comes before. */
@Injectable()
export class AuditInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { staff, method, route } = context.switchToHttp().getRequest()
    // The path of the route, for a URL may have personal data in it.
    const audit = { actor: staff, reason: `${method} ${route.path}` }
    // Nest runs the handler later, and in the context that `handle()` is called in.
    return withAudit(audit, () => next.handle())
  }
}
